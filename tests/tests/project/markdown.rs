//! The parts of Markdown documents that the tests check.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The parts of a document.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Code blocks and code spans.
    pub(crate) code: Vec<String>,
    /// The code spans in the first cell of each row of a table.
    pub(crate) code_in_first_cells: Vec<String>,
    /// The targets of links and images.
    pub(crate) links: Vec<String>,
    /// The anchors of the headings, as GitHub makes them.
    pub(crate) anchors: Vec<String>,
}

impl Document {
    pub(crate) fn parse(source: &str) -> Self {
        let mut document = Self::default();
        // The text since the start of the last heading or code block.
        let mut text = String::new();
        let mut is_first_cell = false;
        for event in Parser::new_ext(source, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Heading { .. } | Tag::CodeBlock(_)) => text.clear(),
                Event::Start(Tag::TableRow) => is_first_cell = true,
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    document.links.push(dest_url.into_string());
                }
                Event::Text(part) => text.push_str(&part),
                Event::Code(code) => {
                    text.push_str(&code);
                    if is_first_cell {
                        document.code_in_first_cells.push(code.to_string());
                    }
                    document.code.push(code.into_string());
                }
                Event::End(TagEnd::TableCell) => is_first_cell = false,
                Event::End(TagEnd::CodeBlock) => document.code.push(text.clone()),
                Event::End(TagEnd::Heading(_)) => document.add_anchor(&text),
                _ => {}
            }
        }
        document
    }

    /// Adds the anchor of a heading: in lower case, without punctuation, with hyphens for spaces, and with a number if
    /// the document already has it.
    fn add_anchor(&mut self, heading: &str) {
        let heading = heading.to_lowercase().replace(' ', "-");
        let is_kept = |it: &char| it.is_alphanumeric() || ['-', '_'].contains(it);
        let anchor: String = heading.chars().filter(is_kept).collect();
        let mut unique = anchor.clone();
        let mut count = 0;
        while self.anchors.contains(&unique) {
            count += 1;
            unique = format!("{anchor}-{count}");
        }
        self.anchors.push(unique);
    }
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    let document = Document::parse("# `./dev a`: all\n## B_c & [Ünï](no)\n# A\n## A (a)\n## A\n");
    let expected = ["dev-a-all", "b_c--ünï", "a", "a-a", "a-1"];
    assert_eq!(document.anchors, expected);
}
