// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! `/etc/ld.so.preload`: what ld.so finds in it, and edits that change nothing else.
//!
//! Needs nothing of the rest, so that tests and a fuzzer can include it.

use std::ops::Range;

/// What ld.so takes for the end of a name (`elf/rtld.c` of glibc).
fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b':')
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Where the names lie that ld.so tries to load, in its order.
///
/// Its faults count as well: after the first comment glibc looks for the next one from the start of
/// the file again, but no further than what is left, so that the end of a later comment may be names.
pub fn entries(content: &[u8]) -> Vec<Range<usize>> {
    let text = without_comments(content);
    let Some((&last, most)) = text.split_last() else { return Vec::new() };
    let (list, tail) = if is_separator(last) {
        (most, None)
    } else {
        let start = text.iter().rposition(|&byte| is_separator(byte)).map_or(0, |end| end + 1);
        (&text[..start.saturating_sub(1)], Some(start))
    };
    let mut names = Vec::new();
    let mut start = 0;
    // To the loader both parts are strings of C, which end at a zero.
    for name in before_zero(list).split(|&byte| is_separator(byte)) {
        names.push(start..start + name.len());
        start += name.len() + 1;
    }
    names.extend(tail.map(|start| start..start + before_zero(&text[start..]).len()));
    names.retain(|name| !name.is_empty());
    names
}

fn before_zero(text: &[u8]) -> &[u8] {
    text.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn without_comments(content: &[u8]) -> Vec<u8> {
    let mut text = content.to_vec();
    let mut rest = text.len();
    while let Some(comment) = text[..rest].iter().position(|&byte| byte == b'#') {
        rest -= comment;
        for byte in &mut text[comment..] {
            if rest == 0 || *byte == b'\n' {
                break;
            }
            *byte = b' ';
            rest -= 1;
        }
    }
    text
}

/// ld.so would not read what is appended: there is a zero byte in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The content with one more entry at its end; nothing if one is there for which `is_ours` holds.
///
/// # Errors
///
/// If ld.so would not read it there.
pub fn with_entry(
    content: &[u8],
    entry: &[u8],
    is_ours: impl Fn(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, Unreadable> {
    if entries(content).into_iter().any(|range| is_ours(&content[range])) {
        return Ok(None);
    }
    let mut new = content.to_vec();
    if content.last().is_some_and(|&last| last != b'\n') {
        // The blank tells whose the end of the line is: see cut().
        new.extend(b"\n ");
    }
    let start = new.len();
    new.extend(entry);
    new.push(b'\n');
    if entries(&new).contains(&(start..start + entry.len())) {
        Ok(Some(new))
    } else {
        Err(Unreadable)
    }
}

/// The content without the entries for which `is_ours` holds; nothing if there is none.
pub fn without_entries(content: &[u8], is_ours: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let mut new = content.to_vec();
    // The last first, as each was added; what ld.so reads depends on the length of the whole.
    while let Some(entry) =
        entries(&new).into_iter().rev().find(|range| is_ours(&new[range.clone()]))
    {
        let range = cut(&new, entry);
        new.drain(range);
    }
    (new.len() != content.len()).then_some(new)
}

/// What goes with an entry: its line if it is alone there, else one of the separators beside it.
fn cut(text: &[u8], entry: Range<usize>) -> Range<usize> {
    let (before, after) = (&text[..entry.start], &text[entry.end..]);
    if before.ends_with(b"\n ") && after == b"\n" {
        // As with_entry() leaves it where the last line had no end.
        return entry.start - 2..text.len();
    }
    let indent = before.iter().rev().take_while(|&&byte| is_blank(byte)).count();
    let trail = after.iter().take_while(|&&byte| is_blank(byte)).count();
    let starts_line = matches!(before[..before.len() - indent].last(), None | Some(b'\n'));
    match after.get(trail) {
        None if starts_line => entry.start - indent..text.len(),
        Some(b'\n') if starts_line => entry.start - indent..entry.end + trail + 1,
        _ if before.last().is_some_and(|&byte| is_separator(byte) && byte != b'\n') => {
            entry.start - 1..entry.end
        }
        _ if after.first().is_some_and(|&byte| is_separator(byte) && byte != b'\n') => {
            entry.start..entry.end + 1
        }
        _ => entry,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: &[u8] = b"/usr/lib64/libbysyscall.so";

    fn is_ours(entry: &[u8]) -> bool {
        entry == OURS
    }

    fn names(content: &[u8]) -> Vec<&[u8]> {
        entries(content).into_iter().map(|range| &content[range]).collect()
    }

    fn enabled(content: &[u8]) -> Vec<u8> {
        with_entry(content, OURS, is_ours).ok().flatten().unwrap_or_default()
    }

    fn disabled(content: &[u8]) -> Vec<u8> {
        without_entries(content, is_ours).unwrap_or_default()
    }

    #[test]
    fn blanks_and_colons_separate() {
        assert_eq!(names(b""), [b""; 0]);
        assert_eq!(names(b" \t\n::"), [b""; 0]);
        assert_eq!(names(b"/a"), [b"/a"]);
        assert_eq!(names(b"/a:/b\t/c\n\n/d /e"), [b"/a", b"/b", b"/c", b"/d", b"/e"]);
        assert_eq!(names(b"/a\r\n"), [b"/a\r"]);
    }

    #[test]
    fn a_comment_ends_with_its_line() {
        assert_eq!(names(b"# /a\n/b"), [b"/b"]);
        assert_eq!(names(b"/a#/b\n/c"), [b"/a", b"/c"]);
        assert_eq!(names(b"/a # /b"), [b"/a"]);
    }

    /// Seen of glibc 2.36.
    #[test]
    fn later_comments_are_found_as_glibc_finds_them() {
        assert_eq!(names(b"# comment 1\n# comment 2\n/a.so\n"), [&b"nt"[..], b"2", b"/a.so"]);
    }

    #[test]
    fn a_zero_ends_the_list_but_not_the_last_name() {
        assert_eq!(names(b"/x\n /z\0/q /r"), [b"/x", b"/z", b"/r"]);
        assert_eq!(names(b"/a\0b"), [b"/a"]);
        assert_eq!(with_entry(b"/a\0\n", OURS, is_ours), Err(Unreadable));
    }

    #[test]
    fn the_entry_comes_last_and_on_a_line_of_its_own() {
        assert_eq!(enabled(b""), b"/usr/lib64/libbysyscall.so\n");
        assert_eq!(enabled(b"/a # why\n"), b"/a # why\n/usr/lib64/libbysyscall.so\n");
        assert_eq!(enabled(b"/a # why"), b"/a # why\n /usr/lib64/libbysyscall.so\n");
        assert_eq!(with_entry(&enabled(b"/a"), OURS, is_ours), Ok(None));
    }

    #[test]
    fn what_others_add_later_stays() {
        let later = |before: &[u8]| disabled(&[&enabled(before)[..], b"/later\n"].concat());
        assert_eq!(later(b"/a\n"), b"/a\n/later\n");
        assert_eq!(later(b"/a"), b"/a\n/later\n");
        assert_eq!(later(b""), b"/later\n");
    }

    #[test]
    fn all_of_ours_go_and_one_separator_with_each() {
        let line = |before: &str, after: &str| {
            let text = [before.as_bytes(), OURS, after.as_bytes()].concat();
            String::from_utf8_lossy(&disabled(&text)).into_owned()
        };
        assert_eq!(line("/a:", " /b\n"), "/a /b\n");
        assert_eq!(line("", ":/b\n"), "/b\n");
        assert_eq!(line("/a\n", " # ours\n/b\n"), "/a\n# ours\n/b\n");
        assert_eq!(line("/a\n", "#ours\n/b\n"), "/a\n#ours\n/b\n");
        assert_eq!(line("/a\n \t", "\t\n/b\n"), "/a\n/b\n");
        assert_eq!(line("/a\n", ""), "/a\n");
        let thrice = [OURS, b":", OURS, b"\n/a\n", OURS, b"\n"].concat();
        assert_eq!(disabled(&thrice), b"/a\n");
    }

    #[test]
    fn what_is_in_a_comment_stays() {
        assert_eq!(without_entries(b"# /usr/lib64/libbysyscall.so\n", is_ours), None);
        assert_eq!(without_entries(b"/usr/lib64/libbysyscall.so.1\n", is_ours), None);
    }

    /// Bytes that mean something, in all orders.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![b" ".to_vec(), b"\t".to_vec(), b"\n".to_vec(), b":".to_vec(), b"#".to_vec()]),
            2 => Just(OURS.to_vec()),
            2 => "[a-z/.]{0,6}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn an_edit_takes_effect_and_is_undone(content in content()) {
            let clean = without_entries(&content, is_ours).unwrap_or(content.clone());
            prop_assert!(!names(&clean).iter().any(|name| is_ours(name)));
            prop_assert_eq!(without_entries(&clean, is_ours), None);
            if let Ok(new) = with_entry(&clean, OURS, is_ours) {
                let new = new.unwrap_or_default();
                prop_assert!(new.starts_with(&clean));
                prop_assert!(names(&new).contains(&OURS));
                prop_assert_eq!(with_entry(&new, OURS, is_ours), Ok(None));
                prop_assert_eq!(disabled(&new), clean);
            }
        }

        /// Without comments, whose end glibc misses, and zeros, the others are the same before and after.
        #[test]
        fn the_others_stay(content in "[a-z/: \t\n]{0,40}", at in 0_usize..40) {
            let content = content.into_bytes();
            let at = at.min(content.len());
            let mut with = content.clone();
            with.splice(at..at, [&b" "[..], OURS, b":"].concat());
            let others: Vec<&[u8]> = names(&with).into_iter().filter(|name| !is_ours(name)).collect();
            let without = disabled(&with);
            prop_assert_eq!(names(&without), others);
        }
    }
}
