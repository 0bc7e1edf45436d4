//! The matrix of flow × point × fault, and the recoveries.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::*;

/// The cells that were run.
#[derive(Debug, Default)]
pub struct Matrix {
    flows: Vec<Row>,
}

/// The cells of a flow.
#[derive(Debug)]
struct Row {
    flow: String,
    /// Counts by step and fault, in the flow's order.
    steps: Vec<(String, BTreeMap<&'static str, usize>)>,
    without_fault: usize,
    recoveries: BTreeMap<Recovery, usize>,
}

impl Matrix {
    pub fn add_flow(&mut self, flow: &str, steps: &[Step]) {
        self.flows.push(Row {
            flow: flow.to_owned(),
            steps: steps.iter().map(|step| (label(step), BTreeMap::new())).collect(),
            without_fault: 0,
            recoveries: BTreeMap::new(),
        });
    }

    /// Counts a cell.
    pub fn count(&mut self, flow: &str, cell: &Cell) {
        let row = self.flows.iter_mut().find(|row| row.flow == flow).expect("a row");
        *row.recoveries.entry(cell.recovery).or_default() += 1;
        match &cell.fault {
            None => row.without_fault += 1,
            Some((step, fault)) => {
                let label = label(step);
                let (_, faults) = row.steps.iter_mut().find(|(known, _)| *known == label).expect("a step");
                *faults.entry(fault.name()).or_default() += 1;
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

    pub fn crashes(&self) -> usize {
        let of = |faults: &BTreeMap<&str, usize>| -> usize {
            let crashes = faults.iter().filter(|(name, _)| name.starts_with("crash"));
            crashes.map(|(_, count)| count).sum()
        };
        self.flows
            .iter()
            .flat_map(|row| &row.steps)
            .map(|(_, faults)| of(faults))
            .sum()
    }
}

impl Row {
    fn cells(&self) -> usize {
        let of_steps = self.steps.iter().flat_map(|(_, faults)| faults.values());
        of_steps.sum::<usize>() + self.without_fault
    }
}

fn label(step: &Step) -> String {
    format!("{}#{}", step.call.name(), step.nth)
}

/// One line per flow, and below it one line per step with the number of cells per fault.
impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.flows {
            let recoveries = Recovery::ALL.map(|recovery| {
                let count = row.recoveries.get(&recovery).copied().unwrap_or_default();
                format!("{} {count}", recovery.name())
            });
            writeln!(
                f,
                "{}: {} cells; recovered by {}",
                row.flow,
                row.cells(),
                recoveries.join(", ")
            )?;
            for (step, faults) in &row.steps {
                let mut line = String::new();
                for (name, count) in faults {
                    let separator = if line.is_empty() { "" } else { "; " };
                    let times = if *count == 1 {
                        String::new()
                    } else {
                        format!(" ×{count}")
                    };
                    write!(line, "{separator}{name}{times}")?;
                }
                let cells: usize = faults.values().sum();
                writeln!(f, "  {step:<20} {cells:>3}  {line}")?;
            }
        }
        let (flows, points, crashes, cells) = (self.flows(), self.points(), self.crashes(), self.cells());
        write!(f, "{flows} flows, {points} points, {cells} cells: {crashes} crashes, ")?;
        write!(f, "{} other faults, {flows} without a fault", cells - crashes - flows)
    }
}
