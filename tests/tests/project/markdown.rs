//! A Markdown parser that is just good enough to find code, links, headings and tables.

use std::collections::BTreeMap;

/// The parts of a document.
#[derive(Debug, Default)]
pub(crate) struct Document {
    /// Code blocks and code spans.
    pub(crate) code: Vec<String>,
    /// The targets of links and images.
    pub(crate) links: Vec<String>,
    /// The anchors of the headings, as GitHub makes them, and those in HTML.
    pub(crate) anchors: Vec<String>,
    /// The rows of tables, each with its cells.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Document {
    pub(crate) fn parse(text: &str) -> Self {
        let mut document = Self::default();
        let mut anchors = BTreeMap::new();
        let mut paragraph = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(fence) = fence(line) {
                document.end_paragraph(&mut paragraph);
                let block = lines.by_ref().take_while(|line| {
                    let is_end = line.trim_start().starts_with(fence);
                    !is_end
                });
                document.code.push(block.collect::<Vec<_>>().join("\n"));
                continue;
            }
            if line.trim().is_empty() {
                document.end_paragraph(&mut paragraph);
            } else if let Some(heading) = heading(line) {
                document.end_paragraph(&mut paragraph);
                let anchor = anchor(heading);
                let count: &mut usize = anchors.entry(anchor.clone()).or_default();
                document.anchors.push(match *count {
                    0 => anchor,
                    count => format!("{anchor}-{count}"),
                });
                *count += 1;
                document.read_prose(heading);
            } else {
                if line.trim_start().starts_with('|') {
                    let row = line.trim().trim_matches('|');
                    let cells = row.split('|').map(|cell| cell.trim().to_owned());
                    document.rows.push(cells.collect());
                }
                paragraph.push_str(line);
                paragraph.push('\n');
            }
        }
        document.end_paragraph(&mut paragraph);
        document
    }

    fn end_paragraph(&mut self, paragraph: &mut String) {
        self.read_prose(&std::mem::take(paragraph));
    }

    fn read_prose(&mut self, text: &str) {
        let mut prose = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('`') {
            prose.push_str(&rest[..start]);
            let behind = rest[start..].trim_start_matches('`');
            let ticks = &rest[start..rest.len() - behind.len()];
            if let Some(end) = behind.find(ticks) {
                self.code.push(behind[..end].to_owned());
                rest = &behind[end + ticks.len()..];
            } else {
                rest = behind;
            }
        }
        prose.push_str(rest);
        for part in prose.split("](").skip(1) {
            let target = part.split([')', ' ', '\n']).next();
            self.links.extend(target.map(str::to_owned));
        }
        for attribute in ["href=\"", "src=\""] {
            for part in prose.split(attribute).skip(1) {
                self.links.extend(part.split('"').next().map(str::to_owned));
            }
        }
        for attribute in ["<a id=\"", "<a name=\""] {
            for part in prose.split(attribute).skip(1) {
                self.anchors
                    .extend(part.split('"').next().map(str::to_owned));
            }
        }
        for line in prose.lines().filter(|line| line.starts_with('[')) {
            if let Some((_, target)) = line.split_once("]: ") {
                let target = target.split_whitespace().next();
                self.links.extend(target.map(str::to_owned));
            }
        }
    }
}

/// The fence of a code block that starts on this line.
fn fence(line: &str) -> Option<&'static str> {
    let fences = ["```", "~~~"].into_iter();
    fences
        .into_iter()
        .find(|fence| line.trim_start().starts_with(fence))
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' ')).then(|| text.trim())
}

/// The anchor that GitHub gives a heading: in lower case, without punctuation, with hyphens for spaces.
fn anchor(heading: &str) -> String {
    // Of a link, only the text counts.
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, target)) = rest.split_once("](") {
        text.push_str(before);
        rest = target.split_once(')').map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    text.to_lowercase()
        .chars()
        .filter(|it| it.is_alphanumeric() || ['-', '_', ' '].contains(it))
        .map(|it| if it == ' ' { '-' } else { it })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_made_as_github_makes_them() {
        for (heading, expected) in [
            ("Logs, metrics, health", "logs-metrics-health"),
            ("`./dev test`: all of it", "dev-test-all-of-it"),
            (
                "Legacy_table & [Neon](https://neon.com/)",
                "legacy_table--neon",
            ),
            ("Ünïcode (2)", "ünïcode-2"),
        ] {
            assert_eq!(anchor(heading), expected);
        }
        let document = Document::parse("# A\n## A\n```\n# no\n```\n<a id=\"b\"></a>\n#no\n# A");
        assert_eq!(document.anchors, ["a", "a-1", "b", "a-2"]);
    }

    #[test]
    fn links_are_found_outside_of_code() {
        let document = Document::parse(
            "[a](b.md#c \"d\"), ![`e`](f.svg) and [g\nh](i) but `[j](no)`.\n\n```sh\n[k](no)\n```\n\
             [l]: m.md\n<img src=\"n.png\">\n| [o](p) | `q` |",
        );
        assert_eq!(
            document.links,
            ["b.md#c", "f.svg", "i", "p", "n.png", "m.md"]
        );
        assert_eq!(document.rows, [["[o](p)", "`q`"]]);
    }

    #[test]
    fn code_is_found_in_blocks_and_spans() {
        let document = Document::parse("`a` and ``b ` c`` and `d\ne`\n```sh\nf\n\ng\n```\n`h");
        assert_eq!(document.code, ["a", "b ` c", "d\ne", "f\n\ng"]);
    }
}
