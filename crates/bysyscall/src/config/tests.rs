// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! What texts say, and where wrong ones are wrong.

use bysyscall_abi::WRAPPERS;
use log::LevelFilter;
use proptest::prelude::*;

use super::parse::{KEYS, parse};
use super::{Config, Getrusage, Program};

const SHIPPED: &str = include_str!("../../../../etc/bysyscall.conf");

fn group_id(name: &str) -> Option<u32> {
    (name == "users").then_some(100)
}

fn config(text: &str) -> Config {
    parse(text, group_id).unwrap()
}

fn mistake(text: &str) -> String {
    parse(text, group_id).unwrap_err().to_string()
}

/// Has the commented keys in effect; prose has a blank after its `#`.
fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && (!rest.starts_with(' ') || rest.starts_with("    ")) => {
            rest
        }
        _ => line,
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_shipped_file_says_the_defaults() {
    assert_eq!(config(""), Config::default());
    assert_eq!(config(SHIPPED), Config::default());
    let text = uncommented(SHIPPED);
    assert_eq!(config(&text), Config::default());
    for key in KEYS {
        assert!(text.lines().any(|line| line.starts_with(&format!("{key} = "))), "{key}");
    }
    let text = text.replace("getrusage = ", "");
    for wrapper in &WRAPPERS {
        assert!(text.contains(&format!("{:?}", wrapper.name)), "{}", wrapper.name);
    }
}

#[test]
fn every_key_is_read() {
    let text = r#"
        wrappers = ["getpid", "times"]
        getrusage = "tick"
        group = "users"
        never = ["/usr/bin/cat", "cat"]
        only = ['ls']
        log_level = "debug"
    "#;
    let programs = |names: &[&str]| names.iter().map(|name| Program::new(name).unwrap()).collect();
    let named = WRAPPERS.iter().filter(|wrapper| ["getpid", "times"].contains(&wrapper.name));
    let expected = Config {
        wrappers: named.fold(0, |bits, wrapper| bits | 1 << wrapper.bit),
        getrusage: Getrusage::Tick,
        group: Some(100),
        never: programs(&["/usr/bin/cat", "cat"]),
        only: programs(&["ls"]),
        log_level: LevelFilter::Debug,
    };
    assert_eq!(config(text), expected);
    assert_eq!(config("wrappers = []").wrappers, 0);
    assert_eq!(config("group = \"\"").group, None);
}

#[test]
fn unknown_words_are_told_with_the_nearest_right_one() {
    let mistakes = [
        ("\n  wraper = []", r#"2:3: unknown key "wraper"; did you mean "wrappers"?"#),
        (
            "wrappers = [\n \"getpid\", \"getpdi\"]",
            r#"2:12: unknown wrapper "getpdi"; did you mean "getpid"?"#,
        ),
        ("wrappers = [\"GetPid\"]", r#"1:13: unknown wrapper "GetPid"; did you mean "getpid"?"#),
        (
            "getrusage = \"tik\"",
            r#"1:13: unknown value of "getrusage": "tik"; did you mean "tick"?"#,
        ),
        (
            "log_level = \"warning\"",
            r#"1:13: unknown value of "log_level": "warning"; did you mean "warn"?"#,
        ),
        ("# é\nlog-level = 'info'", r#"2:1: unknown key "log-level"; did you mean "log_level"?"#),
        (
            "\"é\".b = 1",
            r#"1:1: unknown key "é"; there are: wrappers, getrusage, group, never, only, log_level"#,
        ),
        ("[never]\n", "1:1: \"never\" must be an array of strings: this is of type table"),
        (
            "[service]\n",
            r#"1:2: unknown key "service"; there are: wrappers, getrusage, group, never, only, log_level"#,
        ),
        ("group = \"user\"", r#"1:9: there is no group "user""#),
    ];
    for (text, expected) in mistakes {
        assert_eq!(mistake(text), expected, "{text}");
    }
    // The first in the text, not the first by name.
    assert!(mistake("only = 1\nnever = 1").starts_with("1:8:"));
}

#[test]
fn values_of_a_wrong_type_are_told() {
    for (text, position, expected) in [
        ("wrappers = \"getpid\"", "1:12:", "\"wrappers\" must be an array of strings"),
        ("wrappers = ['getpid', 3]", "1:23:", "\"wrappers\" must be an array of strings"),
        ("getrusage = true", "1:13:", "\"getrusage\" must be a string"),
        ("group = 100", "1:9:", "\"group\" must be a string"),
        ("never = [['cat']]", "1:10:", "\"never\" must be an array of strings"),
        ("log_level.x = 1", "1:1:", "\"log_level\" must be a string"),
    ] {
        let said = mistake(text);
        assert!(said.starts_with(position) && said.contains(expected), "{text}: {said}");
    }
}

#[test]
fn what_is_no_toml_is_told() {
    let unquoted = r#"1:13: a string is written in quotes; did you mean "tick"?"#;
    assert_eq!(mistake("getrusage = tick"), unquoted);
    assert!(mistake("never = [/bin/cat]").ends_with(r#"did you mean "/bin/cat"?"#));
    for (text, position) in [
        ("wrappers = [\"getpid\"", "1:21:"),
        ("only = []\nonly = []", "2:1:"),
        ("=", "1:1:"),
        ("\u{0}", "1:2:"),
        ("never = [\n\"a\n", "2:3:"),
    ] {
        let said = mistake(text);
        assert!(said.starts_with(position), "{text:?}: {said}");
        assert!(!said.contains('\n'), "{said}");
    }
}

#[test]
fn programs_that_can_not_be_are_told() {
    let long_path = format!("/{}", "a".repeat(255));
    for (program, expected) in [
        ("", "names no program"),
        ("bin/cat", "is neither an absolute path nor a name without a slash"),
        ("0123456789abcdef", "keeps 15 bytes of a name; did you mean \"0123456789abcde\"?"),
        ("0123456789abcdé", "keeps 15 bytes of a name"),
        ("/usr//bin/./cat", "did you mean \"/usr/bin/cat\"?"),
        ("/usr/bin/../cat", "is not how the kernel writes this path"),
        ("/usr/bin/", "is a directory"),
        ("/", "is a directory"),
        ("a\\u0000", "has a NUL in it"),
        (&long_path, "a path may have 255 bytes"),
    ] {
        let said = mistake(&format!("never = [\"{program}\"]"));
        assert!(said.starts_with("1:10:") && said.ends_with(expected), "{program}: {said}");
    }
    assert!(Program::new(&long_path[..255]).is_ok_and(|program| program.is_path()));
    assert!(Program::new("0123456789abcde").is_ok_and(|program| !program.is_path()));
}

/// Texts that are nearly right.
fn likely() -> impl Strategy<Value = String> {
    let words = [
        "wrappers",
        "getrusage",
        "group",
        "never",
        "only",
        "log_level",
        " = ",
        "[",
        "]",
        "\"",
        "'",
        "\"\"\"",
        ",",
        "\n",
        "\r\n",
        "#",
        ".",
        "{",
        "}",
        "getpid",
        "tick",
        "/usr/bin/cat",
        "\\u0000",
        "\\",
        "1979-05-27",
        "1e9",
        "é",
        "\u{feff}",
    ];
    let word =
        prop_oneof![proptest::sample::select(words.to_vec()).prop_map(str::to_owned), ".{0,3}"];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

fn is_told_or_read(text: &str) -> Result<(), TestCaseError> {
    let Err(error) = parse(text, group_id) else { return Ok(()) };
    prop_assert!(!error.message.is_empty());
    prop_assert!(error.line >= 1 && error.line <= text.split('\n').count(), "{error}");
    let line = text.split('\n').nth(error.line - 1).unwrap_or_default();
    prop_assert!(error.column >= 1 && error.column <= line.chars().count() + 1, "{error}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_its_mistake_told(text in any::<String>()) {
        is_told_or_read(&text)?;
    }

    #[test]
    fn likely_text_is_read_or_its_mistake_told(text in likely()) {
        is_told_or_read(&text)?;
    }
}
