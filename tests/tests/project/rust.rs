//! Rust files, parsed by `syn`, which leaves out the arguments of macros. Only [`words`] reads those, too.

use proc_macro2::{TokenStream, TokenTree};
use syn::Item;

/// A parsed Rust file.
pub(crate) fn parse(path: &str, source: &str) -> syn::File {
    syn::parse_file(source).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether an item is under `#[cfg(test)]`.
pub(crate) fn is_test(item: &Item) -> bool {
    let attributes = match item {
        Item::Const(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    };
    attributes.iter().any(|attribute| {
        let condition = attribute.parse_args::<syn::Path>();
        attribute.path().is_ident("cfg") && condition.is_ok_and(|path| path.is_ident("test"))
    })
}

/// The identifiers and keywords of a Rust file, without those in comments and string literals.
pub(crate) fn words(path: &str, source: &str) -> Vec<String> {
    let tokens = source.parse();
    words_of(tokens.unwrap_or_else(|error| panic!("{path}: {error}")))
}

/// The identifiers and keywords in tokens.
pub(crate) fn words_of(tokens: TokenStream) -> Vec<String> {
    let words = tokens.into_iter().map(|token| match token {
        TokenTree::Ident(word) => vec![word.to_string()],
        TokenTree::Group(group) => words_of(group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => Vec::new(),
    });
    words.flatten().collect()
}
