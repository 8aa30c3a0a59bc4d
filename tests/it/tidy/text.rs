//! Reads Rust sources as text, well enough for the house rules: code told from comments and
//! strings, whole words, brackets, use trees, the extent of functions. It is no parser; what a
//! parser could find is the compiler's and clippy's to find.

/// The text with comments and the insides of strings and character literals blanked, line by
/// line and byte by byte at the same place.
pub(super) fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => block_comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !follows_a_word(bytes, at) && raw_string_hashes(bytes, at + 1).is_some() => {
                raw_string_end(bytes, at)
            }
            b'\'' => char_end(bytes, at),
            _ => at,
        };
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|&b| if b == b'\n' { b } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8(out).expect("only whole literals and comments were blanked")
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| from + n)
}

fn block_comment_end(bytes: &[u8], from: usize) -> usize {
    let mut depth = 0;
    let mut at = from;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            Some(_) | None => at += 1,
        }
    }
    at
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The number of `#` between `r` and the quote, where this is a raw string at all.
fn raw_string_hashes(bytes: &[u8], from: usize) -> Option<usize> {
    let hashes = bytes[from..].iter().take_while(|&&b| b == b'#').count();
    (bytes.get(from + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_string_end(bytes: &[u8], from: usize) -> usize {
    let hashes = raw_string_hashes(bytes, from + 1).unwrap_or(0);
    let close = [b"\"".to_vec(), vec![b'#'; hashes]].concat();
    let body = from + 2 + hashes;
    bytes[body..]
        .windows(close.len())
        .position(|w| w == close)
        .map_or(bytes.len(), |n| body + n + close.len())
}

/// The end of a character literal, or `from` where the quote begins a lifetime.
fn char_end(bytes: &[u8], from: usize) -> usize {
    if bytes.get(from + 1) == Some(&b'\\') {
        return bytes[from + 3..]
            .iter()
            .position(|&b| b == b'\'')
            .map_or(bytes.len(), |n| from + 3 + n + 1);
    }
    let len = bytes.get(from + 1).map_or(1, |&b| match b {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
    });
    if bytes.get(from + 1 + len) == Some(&b'\'') { from + 2 + len } else { from }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn follows_a_word(bytes: &[u8], at: usize) -> bool {
    // `br"…"` is a raw string too; `for"` does not exist.
    at > 0 && is_word(bytes[at - 1]) && bytes[at - 1] != b'b'
}

/// Where `word` stands in `code` as a whole word.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at == 0 || !is_word(bytes[at - 1]);
        let after = bytes.get(at + word.len()).is_none_or(|&b| !is_word(b));
        before && after
    })
}

pub(super) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The place after the bracket that closes the one at `open`.
pub(super) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// `code` with the bodies of `#[cfg(test)]` modules blanked.
pub(super) fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let rest = out[at..].find(['{', ';']).map_or(out.len(), |n| at + n);
        let end = if out[rest..].starts_with('{') { closing(&out, rest) } else { rest };
        let blank: String =
            out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        // Offsets need not survive here; a multi-byte character may become one space.
        out.replace_range(at..end, &blank);
    }
    out
}

/// Every path that `code` takes from the crate's root: `engine::ports` for
/// `use crate::engine::ports::Clock`, and for climbing out by `super::super::`.
pub(super) fn crate_paths(code: &str, module_depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        if let Some(rest) = code[at..].strip_prefix("crate::") {
            found.extend(leaves(rest).into_iter().map(|p| (line_of(code, at), p)));
        }
    }
    for at in words(code, "super") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut climbed = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            climbed += 1;
            rest = next;
        }
        if climbed >= module_depth {
            found.extend(leaves(rest).into_iter().map(|p| (line_of(code, at), p)));
        }
    }
    found
}

/// The paths of a use tree, two segments deep: `a::b`, or every branch of `{a::b, c}`.
fn leaves(tree: &str) -> Vec<String> {
    if tree.starts_with('{') {
        let inside = &tree[1..closing(tree, 0) - 1];
        let mut branches = Vec::new();
        let mut from = 0;
        let mut depth = 0usize;
        for (at, byte) in inside.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b',' if depth == 0 => {
                    branches.push(&inside[from..at]);
                    from = at + 1;
                }
                _ => {}
            }
        }
        branches.push(&inside[from..]);
        return branches.iter().flat_map(|b| leaves(b.trim())).collect();
    }
    let segment = |text: &str| -> String {
        text.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect()
    };
    let first = segment(tree);
    match tree[first.len()..].strip_prefix("::") {
        Some(rest) if rest.starts_with('{') => {
            leaves(rest).iter().map(|second| format!("{first}::{}", segment(second))).collect()
        }
        Some(rest) => vec![format!("{first}::{}", segment(rest))],
        None if first.is_empty() => Vec::new(),
        None => vec![first],
    }
}

/// The names in `mod name;`.
pub(super) fn declared_modules(code: &str) -> Vec<String> {
    words(code, "mod")
        .filter_map(|at| {
            let rest = code[at + 3..].trim_start();
            let name: String =
                rest.chars().take_while(|&c| c.is_alphanumeric() || c == '_').collect();
            rest[name.len()..].trim_start().starts_with(';').then_some(name)
        })
        .collect()
}

/// The functions of a file: name, first line, number of lines.
pub(super) fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let name: String = code[at + 2..]
            .trim_start()
            .chars()
            .take_while(|&c| c.is_alphanumeric() || c == '_')
            .collect();
        let mut cursor = at;
        // The body is the first brace outside the brackets of the signature.
        let body = loop {
            match code[cursor..].find(['(', '[', '{', ';', '}']).map(|n| cursor + n) {
                Some(next) => match code.as_bytes()[next] {
                    b'(' | b'[' => cursor = closing(code, next),
                    b'{' => break Some(next),
                    _ => break None,
                },
                None => break None,
            }
        };
        if let Some(body) = body.filter(|_| !name.is_empty()) {
            let (first, last) = (line_of(code, at), line_of(code, closing(code, body)));
            found.push((name, first, last - first + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_comments_strings_and_lifetimes() {
        let text =
            "a(\"{ // \\\" \", '{', '\\'', '测', &'static str) /* { /* */ } */ r#\"}\"# // }\nb";
        let code = code_of(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().concat(), "a(,,,,&'staticstr)b");
        assert_eq!(code.len(), text.len());
    }
}
