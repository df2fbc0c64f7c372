// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! From the text of the configuration to what it says, or where it is wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use bysyscall_abi::WRAPPERS;
use log::LevelFilter;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::program::Program;

/// What the administrator wants of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bits of the wrappers that may be on.
    pub wrappers: u32,
    /// What `getrusage()` tells of threads and processes.
    pub getrusage: Getrusage,
    /// Number of the group that may use the service, and no other user but root.
    pub group: Option<u32>,
    /// Programs that are left alone.
    pub never: BTreeSet<Program>,
    /// If there is one, all programs but these are left alone.
    pub only: BTreeSet<Program>,
    /// What the loader logs.
    pub log_level: LevelFilter,
}

/// How old what `getrusage()` tells of threads and processes may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Getrusage {
    /// Not at all: the kernel is asked
    Exact,
    /// As old as the last tick, and nothing is asked
    Tick,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wrappers: bysyscall_abi::wrappers_kept_right_by(!0),
            getrusage: Getrusage::Exact,
            group: None,
            never: BTreeSet::new(),
            only: BTreeSet::new(),
            log_level: LevelFilter::Info,
        }
    }
}

/// Where a text is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What was perhaps meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean {suggestion:?}?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// What is wrong with a part of the text.
pub struct Mistake {
    span: Range<usize>,
    message: String,
    suggestion: Option<String>,
}

impl Mistake {
    fn new(span: Range<usize>, message: String) -> Self {
        Self { span, message, suggestion: None }
    }

    /// A word that is none of those that there are.
    fn unknown<'a>(
        span: Range<usize>,
        what: &str,
        word: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Self {
        let suggestion = nearest(word, known.clone()).map(str::to_owned);
        let mut message = format!("unknown {what} {word:?}");
        if suggestion.is_none() {
            message += "; there are: ";
            message += &known.collect::<Vec<_>>().join(", ");
        }
        Self { span, message, suggestion }
    }
}

/// The name that is most like a word, if one is at all.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let steps = |name: &str| strsim::damerau_levenshtein(&word, name);
    let near = known
        .map(|name| (steps(name), name))
        .filter(|(steps, name)| *steps * 2 <= name.len().max(word.len()));
    near.min_by_key(|(steps, _)| *steps).map(|(_, name)| name)
}

/// The value of a key.
struct Entry<'text> {
    key: &'static str,
    value: Spanned<DeValue<'text>>,
}

impl Entry<'_> {
    fn read<T: for<'de> Deserialize<'de>>(self, expected: &str) -> Result<T, Mistake> {
        let (whole, kind) = (self.value.span(), self.value.get_ref().type_str());
        let value = ValueDeserializer::from(self.value);
        T::deserialize(value).map_err(|error| {
            let span = error.span().unwrap_or(whole.clone());
            let why = if span == whole {
                format!("this is of type {kind}")
            } else {
                error.message().to_owned()
            };
            Mistake::new(span, format!("{:?} must be {expected}: {why}", self.key))
        })
    }

    fn string(self) -> Result<Spanned<String>, Mistake> {
        self.read("a string")
    }

    fn strings(self) -> Result<Vec<Spanned<String>>, Mistake> {
        self.read("an array of strings")
    }

    /// One of several words.
    fn word<T: Copy>(self, words: &[(&'static str, T)]) -> Result<T, Mistake> {
        let key = self.key;
        let word = self.string()?;
        let found = words.iter().find(|(name, _)| name == word.get_ref());
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names = words.iter().map(|(name, _)| *name);
            Mistake::unknown(word.span(), &format!("value of {key:?}:"), word.get_ref(), names)
        })
    }

    fn wrappers(self) -> Result<u32, Mistake> {
        self.strings()?.into_iter().try_fold(0, |bits, name| {
            let wrapper = WRAPPERS.iter().find(|wrapper| wrapper.name == name.get_ref());
            wrapper.map(|wrapper| bits | 1 << wrapper.bit).ok_or_else(|| {
                let names = WRAPPERS.iter().map(|wrapper| wrapper.name);
                Mistake::unknown(name.span(), "wrapper", name.get_ref(), names)
            })
        })
    }

    fn programs(self) -> Result<BTreeSet<Program>, Mistake> {
        let programs = self.strings()?.into_iter().map(|text| {
            Program::new(text.get_ref()).map_err(|(message, suggestion)| Mistake {
                span: text.span(),
                message,
                suggestion,
            })
        });
        programs.collect()
    }

    fn group(self, group_id: impl Fn(&str) -> Option<u32>) -> Result<Option<u32>, Mistake> {
        let name = self.string()?;
        if name.get_ref().is_empty() {
            return Ok(None);
        }
        let unknown =
            || Mistake::new(name.span(), format!("there is no group {:?}", name.get_ref()));
        group_id(name.get_ref()).map(Some).ok_or_else(unknown)
    }
}

/// All keys that there are.
pub(super) const KEYS: [&str; 6] = ["wrappers", "getrusage", "group", "never", "only", "log_level"];
const AGES: [(&str, Getrusage); 2] = [("exact", Getrusage::Exact), ("tick", Getrusage::Tick)];
const LEVELS: [(&str, LevelFilter); 4] = [
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
];

/// What a text says; `group_id` knows the numbers of groups.
///
/// # Errors
///
/// Tells where the first mistake is.
pub fn parse(text: &str, group_id: impl Fn(&str) -> Option<u32>) -> Result<Config, Error> {
    read(text, group_id).map_err(|mistake| {
        let (line, column) = position(text, mistake.span.start);
        let Mistake { message, suggestion, .. } = mistake;
        Error { line, column, message, suggestion }
    })
}

fn read(text: &str, group_id: impl Fn(&str) -> Option<u32>) -> Result<Config, Mistake> {
    let table = DeTable::parse(text).map_err(|error| no_toml(text, &error))?;
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    // So that the first mistake in the text is told.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut config = Config::default();
    for (name, value) in entries {
        let known = KEYS.into_iter().find(|key| key == name.get_ref());
        let Some(key) = known else {
            return Err(Mistake::unknown(name.span(), "key", name.get_ref(), KEYS.into_iter()));
        };
        let entry = Entry { key, value };
        match key {
            "wrappers" => config.wrappers = entry.wrappers()?,
            "getrusage" => config.getrusage = entry.word(&AGES)?,
            "group" => config.group = entry.group(&group_id)?,
            "never" => config.never = entry.programs()?,
            "only" => config.only = entry.programs()?,
            _ => config.log_level = entry.word(&LEVELS)?,
        }
    }
    Ok(config)
}

/// What is not TOML; most often quotes that were forgotten.
fn no_toml(text: &str, error: &toml::de::Error) -> Mistake {
    let span = error.span().unwrap_or_default();
    let (before, rest) = text.split_at_checked(span.start).unwrap_or((text, ""));
    let is_value = before.trim_end().ends_with(['=', '[', ',']);
    let bare = |c: char| c.is_alphanumeric() || "_-/.".contains(c);
    let word = rest.split(|c| !bare(c)).next().unwrap_or_default();
    if is_value && word.starts_with(|c: char| c.is_alphabetic() || c == '/') {
        let message = "a string is written in quotes".to_owned();
        return Mistake { span, message, suggestion: Some(word.to_owned()) };
    }
    Mistake::new(span, error.message().lines().collect::<Vec<_>>().join(", "))
}

/// Line and column of a byte, both counted from 1.
pub fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
