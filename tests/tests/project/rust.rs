//! A lexer for Rust that is just good enough to find names, paths and string literals.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// An identifier, a keyword or a number.
    Word,
    /// The content of a string literal, with its escapes as they stand.
    Text,
    /// `::`, or any other single character.
    Sign,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

impl Token {
    /// Whether the token is this word or sign, and not a string literal.
    pub(crate) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Text && self.text == text
    }
}

/// The tokens of a file, without comments, character literals and lifetimes.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        characters: source.chars().collect(),
        position: 0,
        line: 1,
    };
    let mut tokens = Vec::new();
    loop {
        let line = lexer.line;
        match lexer.token() {
            Some(Some((kind, text))) => tokens.push(Token { kind, text, line }),
            Some(None) => {}
            None => return tokens,
        }
    }
}

/// The tokens of a file without the items under `#[cfg(test)]`, and the names of the child modules `mod name;` that it
/// declares under `#[cfg(test)]`.
pub(crate) fn without_tests(source: &str) -> (Vec<Token>, Vec<String>) {
    let tokens = tokens(source);
    let (mut kept, mut test_modules) = (Vec::new(), Vec::new());
    let mut position = 0;
    while position < tokens.len() {
        let Some(end) = attribute_end(&tokens, position) else {
            kept.push(tokens[position].clone());
            position += 1;
            continue;
        };
        let attribute = &tokens[position..end];
        let has = |word| attribute.iter().any(|token| token.is(word));
        if has("cfg") && has("test") && !has("not") {
            let item_end = item_end(&tokens, end);
            let item = &tokens[end..item_end];
            if let Some(module) = item.windows(3).find(|it| it[0].is("mod") && it[2].is(";")) {
                test_modules.push(module[1].text.clone());
            }
            position = item_end;
        } else {
            kept.extend_from_slice(attribute);
            position = end;
        }
    }
    (kept, test_modules)
}

/// The end of the attribute that starts at `start`, if there is one.
fn attribute_end(tokens: &[Token], start: usize) -> Option<usize> {
    let is = |index: usize, sign| {
        tokens
            .get(index)
            .is_some_and(|token: &Token| token.is(sign))
    };
    if !is(start, "#") || !is(start + 1, "[") {
        return None;
    }
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(start + 1) {
        if token.is("[") {
            depth += 1;
        } else if token.is("]") {
            depth -= 1;
            if depth == 0 {
                return Some(index + 1);
            }
        }
    }
    None
}

/// The end of the item that starts at `start`: after its `;` or its closing brace.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        if ["(", "[", "{"].iter().any(|sign| token.is(sign)) {
            depth += 1;
        } else if [")", "]", "}"].iter().any(|sign| token.is(sign)) {
            depth -= 1;
            if depth < 0 {
                return index;
            }
            if depth == 0 && token.is("}") {
                return index + 1;
            }
        } else if depth == 0 && token.is(";") {
            return index + 1;
        }
    }
    tokens.len()
}

struct Lexer {
    characters: Vec<char>,
    position: usize,
    line: usize,
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.position + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek(0)?;
        self.position += 1;
        self.line += usize::from(character == '\n');
        Some(character)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(character) = self.peek(0).filter(|character| is_part(*character)) {
            text.push(character);
            self.next();
        }
        text
    }

    /// The next token, `Some(None)` for whitespace and other things that are skipped, or `None` at the end.
    #[expect(
        clippy::option_option,
        reason = "the end, something skipped, and a token"
    )]
    fn token(&mut self) -> Option<Option<(Kind, String)>> {
        let first = self.peek(0)?;
        let second = self.peek(1).unwrap_or(' ');
        if first.is_whitespace() {
            self.next();
            return Some(None);
        }
        if first == '/' && second == '/' {
            self.take_while(|character| character != '\n');
            return Some(None);
        }
        if first == '/' && second == '*' {
            self.block_comment();
            return Some(None);
        }
        if first == '"' {
            return Some(Some((Kind::Text, self.string())));
        }
        if first == '\'' {
            self.character_or_lifetime();
            return Some(None);
        }
        if is_word(first) {
            let word = self.take_while(is_word);
            let next = self.peek(0).unwrap_or(' ');
            if next == '"' && ["b", "c"].contains(&word.as_str()) {
                return Some(Some((Kind::Text, self.string())));
            }
            if ["r", "br", "cr"].contains(&word.as_str()) && self.is_raw_string() {
                return Some(Some((Kind::Text, self.raw_string())));
            }
            if word == "r" && next == '#' {
                self.next();
                return Some(Some((Kind::Word, self.take_while(is_word))));
            }
            return Some(Some((Kind::Word, word)));
        }
        if first == ':' && second == ':' {
            self.skip(2);
            return Some(Some((Kind::Sign, "::".to_owned())));
        }
        self.next();
        Some(Some((Kind::Sign, first.to_string())))
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.peek(0).is_some() {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => depth += 1,
                (Some('*'), Some('/')) => depth -= 1,
                _ => {
                    self.next();
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) -> String {
        let mut text = String::new();
        self.next();
        while let Some(character) = self.next().filter(|character| *character != '"') {
            text.push(character);
            if character == '\\' {
                text.extend(self.next());
            }
        }
        text
    }

    /// Whether `#…"` or `"` comes next.
    fn is_raw_string(&self) -> bool {
        let rest = &self.characters[self.position..];
        rest.iter().find(|character| **character != '#') == Some(&'"')
    }

    fn raw_string(&mut self) -> String {
        let hashes = self.take_while(|character| character == '#').len();
        self.next();
        let mut text = String::new();
        while let Some(character) = self.next() {
            let is_end = character == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if is_end {
                self.skip(hashes);
                break;
            }
            text.push(character);
        }
        text
    }

    fn character_or_lifetime(&mut self) {
        self.next();
        if self.peek(0) == Some('\\') {
            self.skip(2);
            self.take_while(|character| character != '\'');
            self.next();
        } else if self.peek(1) == Some('\'') {
            self.skip(2);
        } else {
            self.take_while(is_word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        let (tokens, _) = without_tests(source);
        let words = tokens.into_iter().filter(|token| token.kind == Kind::Word);
        words.map(|token| token.text).collect()
    }

    #[test]
    fn comments_strings_characters_and_lifetimes_hold_no_words() {
        let source = r##"
            // no /* no
            /* no /* no */ no */ a /// no
            "no \" no" b'"' '\'' b br#"no " no"# r"no" c"no" <'no> '\u{1f600}' c
        "##;
        assert_eq!(words(source), ["a", "b", "b", "c"].map(str::to_owned)[..]);
    }

    #[test]
    fn a_string_is_a_token_with_its_line() {
        let tokens = tokens("f(\n  \"A_B\", r#\"C\"#)");
        let texts = tokens.iter().filter(|token| token.kind == Kind::Text);
        let texts: Vec<_> = texts
            .map(|token| (token.text.as_str(), token.line))
            .collect();
        assert_eq!(texts, [("A_B", 2), ("C", 2)]);
    }

    #[test]
    fn items_under_cfg_test_are_left_out() {
        let source = "
            #[cfg(test)] use no::{no, no};
            #[cfg(test)] #[no] pub(crate) mod no { fn no() { {} } }
            #[cfg(test)] const no: [u8; 2] = [0; 2];
            #[cfg(not(test))] fn a() {}
            #[cfg(test)] mod helpers;
            struct b;";
        let (_, test_modules) = without_tests(source);
        assert_eq!(test_modules, ["helpers"]);
        let words = words(source);
        assert!(!words.contains(&"no".to_owned()), "{words:?}");
        assert!(words.contains(&"a".to_owned()) && words.contains(&"b".to_owned()));
    }
}
