// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
//! Figures, each beside its aim, misses included.

use std::fmt;

use comfy_table::{Table, presets};

/// The middle one and the middle half of some figures.
#[derive(Clone, Copy)]
pub struct Spread {
    /// Half of the figures are below.
    pub median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |part: f64| {
            figures
                .get(((figures.len() - 1) as f64 * part).round() as usize)
                .copied()
                .unwrap_or(f64::NAN)
        };
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Aim {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// The rows to print.
#[derive(Default)]
pub struct Report(Vec<[String; 5]>);

impl Report {
    /// Adds a figure with its unit and its aim.
    pub fn add(&mut self, what: &str, figure: Spread, unit: &str, aim: Aim) {
        // As it is printed: a hundredth is what a run can tell apart.
        let shown = (figure.median * 100.0).round() / 100.0;
        let (aim, met) = match aim {
            Aim::AtMost(most) => (format!("at most {most}"), shown <= most),
            Aim::AtLeast(least) => (format!("at least {least}"), shown >= least),
        };
        self.0.push([
            what.to_owned(),
            format!("{:.2} {unit}", figure.median),
            format!("{:.2} to {:.2}", figure.low, figure.high),
            aim,
            if met { "met" } else { "MISSED" }.to_owned(),
        ]);
    }

    /// Adds a line that has no aim.
    pub fn tell(&mut self, what: &str, figure: &str) {
        self.0.push([
            what.to_owned(),
            figure.to_owned(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["", "MEDIAN", "MIDDLE HALF", "AIM", ""]);
        for row in &self.0 {
            table.add_row(row);
        }
        f.write_str(&table.trim_fmt())
    }
}
