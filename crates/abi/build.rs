// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Turns the numbers and the two tables of `bpf/bysyscall.h` into Rust.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, error::Error, fs};

/// A row `ROW(bit, name, last)` of a table in the header.
struct Row<'a> {
    bit: u32,
    name: &'a str,
    last: &'a str,
}

fn main() -> Result<(), Box<dyn Error>> {
    let header_path = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../bpf/bysyscall.h");
    println!("cargo:rerun-if-changed={}", header_path.display());
    let header = fs::read_to_string(&header_path)?;
    let generated = generate(&header)?;
    fs::write(Path::new(&env::var("OUT_DIR")?).join("header.rs"), generated)?;
    Ok(())
}

fn generate(header: &str) -> Result<String, Box<dyn Error>> {
    let mut out = String::new();
    for (name, value) in header.lines().filter_map(number) {
        writeln!(
            out,
            "/// `BYSYSCALL_{name}` of `bpf/bysyscall.h`.\npub const {name}: u32 = {value};"
        )?;
    }

    let hooks = table(header, "BYSYSCALL_HOOKS")?;
    writeln!(
        out,
        "/// Every hook, in the order of the bits.\npub const HOOKS: [Hook; {}] = [",
        hooks.len()
    )?;
    for Row { bit, name, last } in &hooks {
        writeln!(out, "Hook {{ bit: {bit}, name: {name:?}, attach_point: {last} }},")?;
    }
    writeln!(out, "];")?;
    let account_hooks = hook_bits(header, &hooks, "BYSYSCALL_ACCOUNT_HOOKS")?;
    writeln!(
        out,
        "/// Of the hooks that no wrapper needs those that only accounting has a use for.\nconst ACCOUNT_HOOKS: u32 = {account_hooks};"
    )?;

    let wrappers = table(header, "BYSYSCALL_WRAPPERS")?;
    writeln!(
        out,
        "/// Every wrapper, in the order of the bits.\npub const WRAPPERS: [Wrapper; {}] = [",
        wrappers.len()
    )?;
    for Row { bit, name, last } in &wrappers {
        let needs = hook_bits(header, &hooks, last).map_err(|error| format!("{name}: {error}"))?;
        writeln!(out, "Wrapper {{ bit: {bit}, name: {name:?}, hooks: {needs} }},")?;
    }
    writeln!(out, "];")?;

    writeln!(out, "/// Calls a macro with a row `(name, bit)` for each wrapper.\n#[macro_export]")?;
    writeln!(out, "macro_rules! for_each_wrapper {{ ($macro:ident) => {{ $macro! {{")?;
    for Row { bit, name, .. } in &wrappers {
        writeln!(out, "({name}, {bit}),")?;
    }
    writeln!(out, "}} }} }}")?;
    Ok(out)
}

/// The bits of `HOOK(name) | HOOK(name) | BYSYSCALL_NAME…`; the last is defined likewise.
fn hook_bits(header: &str, hooks: &[Row], list: &str) -> Result<u32, Box<dyn Error>> {
    let mut bits = 0;
    for term in list.split('|').map(str::trim) {
        let hook = term.strip_prefix("HOOK(").and_then(|name| name.strip_suffix(')'));
        bits |= if let Some(name) = hook {
            let row = hooks.iter().find(|row| row.name == name);
            1 << row.ok_or_else(|| format!("no hook {name}"))?.bit
        } else {
            let definition =
                header.lines().find_map(|line| line.strip_prefix(&format!("#define {term} ")));
            hook_bits(header, hooks, definition.ok_or_else(|| format!("no definition of {term}"))?)?
        };
    }
    Ok(bits)
}

/// `#define BYSYSCALL_NAME number`, decimal or hexadecimal.
fn number(line: &str) -> Option<(&str, u32)> {
    let mut words = line.strip_prefix("#define BYSYSCALL_")?.split_whitespace();
    let (name, value) = (words.next()?, words.next()?);
    let value = match value.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => value.parse(),
    };
    Some((name, value.ok()?))
}

fn table<'a>(header: &'a str, name: &str) -> Result<Vec<Row<'a>>, Box<dyn Error>> {
    let start =
        header.find(&format!("#define {name}(ROW)")).ok_or_else(|| format!("no table {name}"))?;
    let rows = header[start..].lines().skip(1).map_while(|line| line.trim().strip_prefix("ROW("));
    let mut table = Vec::new();
    for row in rows {
        let row = row.trim_end_matches(['\\', ' ', '\t']);
        let row = row.strip_suffix(')').ok_or_else(|| format!("{name}: bad row {row}"))?;
        let mut cells = row.splitn(3, ',').map(str::trim);
        let (Some(bit), Some(name), Some(last)) = (cells.next(), cells.next(), cells.next()) else {
            return Err(format!("{name}: bad row {row}").into());
        };
        let bit = bit.parse::<u32>()?;
        if bit as usize != table.len() {
            return Err(format!("{name}: bit {bit} is out of order").into());
        }
        table.push(Row { bit, name, last });
    }
    Ok(table)
}
