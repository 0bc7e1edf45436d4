//! The matrix as it was gone through: flow × point × fault, and by what each was carried on.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::*;

/// The cells that were gone through.
#[derive(Debug, Default)]
pub struct Matrix {
    flows: Vec<Row>,
}

/// The cells of a flow.
#[derive(Debug)]
struct Row {
    flow: String,
    /// By step, in the flow's order, and by what went wrong there.
    steps: Vec<(String, BTreeMap<&'static str, usize>)>,
    undisturbed: usize,
    lives: BTreeMap<Life, usize>,
}

impl Matrix {
    /// A row for a flow with these steps.
    pub fn add_flow(&mut self, flow: &str, steps: &[Step]) {
        self.flows.push(Row {
            flow: flow.to_owned(),
            steps: steps.iter().map(|step| (label(step), BTreeMap::new())).collect(),
            undisturbed: 0,
            lives: BTreeMap::new(),
        });
    }

    /// Counts a cell that was gone through.
    pub fn count(&mut self, flow: &str, cell: &Cell) {
        let row = self.flows.iter_mut().find(|row| row.flow == flow).expect("a row");
        *row.lives.entry(cell.life).or_default() += 1;
        match &cell.blow {
            None => row.undisturbed += 1,
            Some((step, blow)) => {
                let label = label(step);
                let (_, blows) = row.steps.iter_mut().find(|(known, _)| *known == label).expect("a step");
                *blows.entry(blow.name()).or_default() += 1;
            }
        }
    }

    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    pub fn points(&self) -> usize {
        self.flows.iter().map(|row| 2 * row.steps.len()).sum()
    }

    pub fn cells(&self) -> usize {
        self.flows.iter().map(Row::cells).sum()
    }

    pub fn deaths(&self) -> usize {
        let of = |blows: &BTreeMap<&str, usize>| -> usize {
            let deaths = blows.iter().filter(|(name, _)| name.starts_with("death"));
            deaths.map(|(_, count)| count).sum()
        };
        self.flows
            .iter()
            .flat_map(|row| &row.steps)
            .map(|(_, blows)| of(blows))
            .sum()
    }
}

impl Row {
    fn cells(&self) -> usize {
        let of_steps = self.steps.iter().flat_map(|(_, blows)| blows.values());
        of_steps.sum::<usize>() + self.undisturbed
    }
}

fn label(step: &Step) -> String {
    format!("{}#{}", step.call.name(), step.nth)
}

/// A line a flow, and under it a line a step: what went wrong before, during and after its call, and in how many cells.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.flows {
            let lives = Life::ALL.map(|life| {
                let count = row.lives.get(&life).copied().unwrap_or_default();
                format!("{} {count}", life.name())
            });
            writeln!(f, "{}: {} cells; then {}", row.flow, row.cells(), lives.join(", "))?;
            for (step, blows) in &row.steps {
                let mut line = String::new();
                for (name, count) in blows {
                    let separator = if line.is_empty() { "" } else { "; " };
                    let times = if *count == 1 {
                        String::new()
                    } else {
                        format!(" ×{count}")
                    };
                    write!(line, "{separator}{name}{times}")?;
                }
                let cells: usize = blows.values().sum();
                writeln!(f, "  {step:<20} {cells:>3}  {line}")?;
            }
        }
        let (flows, points, deaths, cells) = (self.flows(), self.points(), self.deaths(), self.cells());
        write!(f, "{flows} flows, {points} points, {cells} cells: {deaths} deaths, ")?;
        write!(f, "{} faults on the way, {flows} undisturbed", cells - deaths - flows)
    }
}
