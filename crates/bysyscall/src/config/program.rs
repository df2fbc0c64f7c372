// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! How the configuration names a program.

use std::path::{Component, Path};

/// Bytes that the kernel keeps of a process's name (`TASK_COMM_LEN`, less the NUL).
const NAME_BYTES: usize = 15;
/// Bytes of a path that fit into the key of a list, with a NUL.
const PATH_BYTES: usize = size_of::<bysyscall_abi::Program>() - 1;

/// An absolute path of an executable, or a process's name as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program(String);

impl Program {
    /// What a text names.
    ///
    /// # Errors
    ///
    /// Says why that can name no program, and perhaps what was meant.
    pub fn new(text: &str) -> Result<Self, (String, Option<String>)> {
        let wrong = |why: &str| Err((format!("{text:?} {why}"), None));
        if text.is_empty() {
            return wrong("names no program");
        }
        if text.contains('\0') {
            return wrong("has a NUL in it");
        }
        if text.starts_with('/') {
            return Self::path(text);
        }
        if text.contains('/') {
            return wrong("is neither an absolute path nor a name without a slash");
        }
        if text.len() > NAME_BYTES {
            let kept = text.get(..NAME_BYTES).map(str::to_owned);
            let message =
                format!("{text:?} is too long: the kernel keeps {NAME_BYTES} bytes of a name");
            return Err((message, kept));
        }
        Ok(Self(text.to_owned()))
    }

    fn path(text: &str) -> Result<Self, (String, Option<String>)> {
        let names = Path::new(text).components().filter_map(|component| match component {
            Component::Normal(name) => name.to_str().map(|name| format!("/{name}")),
            _ => None,
        });
        let plain: String = names.collect();
        if plain.is_empty() || text.ends_with('/') {
            return Err((format!("{text:?} is a directory"), None));
        }
        if plain != text {
            let goes_up =
                Path::new(text).components().any(|component| component == Component::ParentDir);
            let message = format!("{text:?} is not how the kernel writes this path");
            return Err((message, (!goes_up).then_some(plain)));
        }
        if text.len() > PATH_BYTES {
            return Err((
                format!("{text:?} is too long: a path may have {PATH_BYTES} bytes"),
                None,
            ));
        }
        Ok(Self(plain))
    }

    /// Whether it is a path.
    pub fn is_path(&self) -> bool {
        self.0.starts_with('/')
    }

    /// The path or name.
    pub fn text(&self) -> &str {
        &self.0
    }
}
