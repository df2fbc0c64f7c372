// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Unit files of systemd: what they say of `LD_PRELOAD`, and the drop-in that adds to it.

use super::unit_syntax::{quoted, service_settings, words};

/// How a drop-in of ours begins.
const MARK: &str = "# Made by `bysyscall enable";
const VARIABLE: &str = "LD_PRELOAD";

/// The name of a service, with what may be left out of it.
///
/// # Errors
///
/// If it cannot be the name of a service.
pub fn service_name(given: &str) -> Result<String, String> {
    const SUFFIXES: [&str; 10] = [
        ".socket",
        ".target",
        ".timer",
        ".mount",
        ".automount",
        ".swap",
        ".path",
        ".slice",
        ".scope",
        ".device",
    ];
    if SUFFIXES.iter().any(|suffix| given.ends_with(suffix)) {
        return Err(format!("{given} is not a service"));
    }
    let name = given.strip_suffix(".service").unwrap_or(given);
    let is_fit = |byte: u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
    };
    if name.is_empty() || name.len() > 240 || name.starts_with('@') || !name.bytes().all(is_fit) {
        return Err(format!("{given:?} cannot be the name of a service"));
    }
    Ok(format!("{name}.service"))
}

/// Under which names drop-ins for a service are found, the most special first.
pub fn drop_in_names(service: &str) -> Vec<String> {
    let stem = service.strip_suffix(".service").unwrap_or(service);
    let mut stems = vec![stem.to_owned()];
    let template = stem.split_once('@').map(|(name, _)| format!("{name}@"));
    let prefix = stem.split('@').next().unwrap_or(stem);
    stems.extend(template.filter(|template| template != stem));
    stems.extend(prefix.match_indices('-').rev().map(|(at, _)| prefix[..=at].to_owned()));
    stems.into_iter().map(|stem| format!("{stem}.service")).chain(["service".to_owned()]).collect()
}

/// What the files of a unit, in the order in which systemd reads them, say of `LD_PRELOAD`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its value.
    pub value: Option<String>,
    /// Whether it is taken out of the environment, whatever its value.
    pub is_unset: bool,
    /// Files of variables that count for more.
    pub files: Vec<String>,
}

/// Reads unit files as systemd does (systemd.syntax(7), systemd.exec(5)).
pub fn said<'a>(files: impl IntoIterator<Item = &'a str>) -> Said {
    let mut said = Said::default();
    for (key, value) in files.into_iter().flat_map(service_settings) {
        match key.as_str() {
            "Environment" if value.is_empty() => said.value = None,
            "Environment" => {
                for word in words(&value) {
                    if let Some((VARIABLE, value)) = word.split_once('=') {
                        said.value = Some(value.to_owned());
                    }
                }
            }
            "UnsetEnvironment" if value.is_empty() => said.is_unset = false,
            "UnsetEnvironment" => {
                said.is_unset |=
                    words(&value).iter().any(|word| word.split('=').next() == Some(VARIABLE));
            }
            "EnvironmentFile" if value.is_empty() => said.files.clear(),
            "EnvironmentFile" => said.files.push(value.trim_start_matches('-').to_owned()),
            _ => {}
        }
    }
    said
}

/// What a list of preloaded libraries names.
pub fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', ':']).filter(|entry| !entry.is_empty())
}

/// A drop-in that adds a library after those that are in the environment; `option` is how we were asked.
pub fn drop_in(option: &str, others: &[&str], library: &str) -> String {
    let list = others.iter().copied().chain([library]).collect::<Vec<_>>().join(":");
    let assignment = quoted(&format!("{VARIABLE}={list}"));
    format!(
        "{MARK} {option}`; `bysyscall disable {option}` removes it.\n[Service]\nEnvironment={assignment}\n"
    )
}

/// Whether a drop-in is of ours, whatever somebody has added to it.
pub fn is_drop_in_of_ours(text: &str) -> bool {
    text.lines().any(|line| line.starts_with(MARK))
}

/// What others have added to a drop-in of ours, if anything. `others` is what the unit preloads
/// without it, which we have copied.
pub fn added_by_others(
    text: &str,
    others: &[&str],
    is_ours: impl Fn(&str) -> bool,
) -> Option<String> {
    let mut rest = String::new();
    for line in text.split_inclusive('\n').filter(|line| !line.starts_with(MARK)) {
        let settings = service_settings(&format!("[Service]\n{line}"));
        match settings.first() {
            Some((key, value)) if key == "Environment" && !value.is_empty() => {
                let words = words(value);
                let kept = words.iter().filter_map(|word| without_ours(word, others, &is_ours));
                let kept: Vec<String> = kept.map(|word| quoted(&word)).collect();
                if !kept.is_empty() {
                    rest += &format!("Environment={}\n", kept.join(" "));
                }
            }
            _ => rest += line,
        }
    }
    let says_something =
        |line: &str| line.contains('=') || line.trim_start().starts_with(['#', ';']);
    rest.lines().any(says_something).then_some(rest)
}

/// An assignment without our library; nothing if then it would change nothing.
fn without_ours(word: &str, others: &[&str], is_ours: impl Fn(&str) -> bool) -> Option<String> {
    let Some((VARIABLE, list)) = word.split_once('=') else { return Some(word.to_owned()) };
    let kept: Vec<&str> = entries(list).filter(|entry| !is_ours(entry)).collect();
    let is_known = kept.iter().all(|entry| others.contains(entry));
    (!is_known).then(|| format!("{VARIABLE}={}", kept.join(":")))
}

/// Whose service an instance of `user@.service` is.
pub fn uid_of(service: &str) -> Option<u32> {
    service.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/usr/lib64/libbysyscall.so";

    fn value(text: &str) -> Option<String> {
        said([text]).value
    }

    #[test]
    fn names_of_services() {
        assert_eq!(service_name("nginx").as_deref(), Ok("nginx.service"));
        assert_eq!(service_name("user@0.service").as_deref(), Ok("user@0.service"));
        assert_eq!(service_name(r"a\x2db").as_deref(), Ok(r"a\x2db.service"));
        for bad in ["", "a/b", "../x", "a b", "x.socket", ".service", "@x", "a\n"] {
            assert!(service_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn drop_ins_lie_under_several_names() {
        assert_eq!(
            drop_in_names("a-b-c@x.service"),
            ["a-b-c@x.service", "a-b-c@.service", "a-b-.service", "a-.service", "service"]
        );
        assert_eq!(drop_in_names("nginx.service"), ["nginx.service", "service"]);
    }

    #[test]
    fn the_last_assignment_counts() {
        assert_eq!(
            value("[Service]\nEnvironment=LD_PRELOAD=/a\nEnvironment=A=1 LD_PRELOAD=/b\n"),
            Some("/b".into())
        );
        assert_eq!(value("[Service]\nEnvironment=LD_PRELOAD=/a\nEnvironment=\n"), None);
        assert_eq!(value("[Unit]\nEnvironment=LD_PRELOAD=/a\n"), None);
        assert_eq!(value("[Service]\n#Environment=LD_PRELOAD=/a\n"), None);
        assert_eq!(
            value("[Service]\n Environment = \"LD_PRELOAD=/a /b\" C=2\n"),
            Some("/a /b".into())
        );
        assert_eq!(
            value("[Service]\nEnvironment=A=1 \\\n# why\n  LD_PRELOAD=/a\n"),
            Some("/a".into())
        );
    }

    #[test]
    fn what_counts_for_more_is_noticed() {
        let text = "[Service]\nUnsetEnvironment=X LD_PRELOAD\nEnvironmentFile=-/etc/default/x\n";
        let said = said([text]);
        assert!(said.is_unset);
        assert_eq!(said.files, ["/etc/default/x"]);
    }

    #[test]
    fn what_is_written_is_read() {
        for others in [&[][..], &["/a"], &["/a\\c\"d", "/e"]] {
            let text = drop_in("--service x.service", others, OURS);
            let expected = [others, &[OURS]].concat().join(":");
            assert_eq!(value(&text), Some(expected));
            assert!(is_drop_in_of_ours(&text));
            assert_eq!(added_by_others(&text, others, |entry| entry == OURS), None);
        }
    }

    #[test]
    fn what_others_add_stays() {
        let added = |text: &str| added_by_others(text, &["/a"], |entry| entry == OURS);
        let ours = drop_in("--service x.service", &["/a"], OURS);
        assert_eq!(added(&(ours.clone() + "Nice=5\n")), Some("[Service]\nNice=5\n".into()));
        assert_eq!(added(&(ours.clone() + "\n[Unit]\n")), None);
        let edited = ours.replace("libbysyscall.so", "libbysyscall.so:/later.so B=1");
        assert_eq!(
            added(&edited),
            Some("[Service]\nEnvironment=LD_PRELOAD=/a:/later.so B=1\n".into())
        );
    }
}
