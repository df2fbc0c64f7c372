// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! How unit files are written (systemd.syntax(7)).

/// Keys and values of the `[Service]` sections of a file.
pub fn service_settings(text: &str) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    let mut is_service = false;
    for line in logical_lines(text) {
        let line = line.trim();
        if line.starts_with('[') {
            is_service = line == "[Service]";
        } else if is_service && let Some((key, value)) = line.split_once('=') {
            settings.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    settings
}

/// Lines without comments, those that end with a backslash joined to the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun: Option<String> = None;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let whole = begun.take().unwrap_or_default() + line;
        match whole.strip_suffix('\\') {
            Some(whole) => begun = Some(format!("{whole} ")),
            None => lines.push(whole),
        }
    }
    lines.extend(begun);
    lines
}

/// Words as systemd splits and unquotes them.
pub fn words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(end), _) if character == end => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (_, '\\') => {
                let escaped = match characters.next() {
                    Some('s') => ' ',
                    Some('t') => '\t',
                    Some('n') => '\n',
                    Some(other) => other,
                    None => '\\',
                };
                word.get_or_insert_default().push(escaped);
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// A word as `words()` reads it.
pub fn quoted(word: &str) -> String {
    let is_plain = |character: char| !character.is_whitespace() && !r#""'\"#.contains(character);
    if word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("\"{}\"", word.replace('\\', r"\\").replace('"', r#"\""#))
}
