//! The last values as a line of blocks.

use std::collections::VecDeque;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last values.
#[derive(Clone, Debug)]
pub(crate) struct Sparkline {
    values: VecDeque<f64>,
    length: usize,
}

impl Sparkline {
    pub(crate) fn new(length: usize) -> Self {
        Self { values: VecDeque::with_capacity(length), length }
    }

    pub(crate) fn push(&mut self, value: f64) {
        if self.values.len() == self.length {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }
}

impl std::fmt::Display for Sparkline {
    /// Drawn from zero, so that a height means something.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let highest = self.values.iter().copied().fold(1.0, f64::max);
        for value in &self.values {
            let step = (value / highest * (BLOCKS.len() - 1) as f64).round().clamp(0.0, 7.0) as usize;
            write!(f, "{}", BLOCKS[step])?;
        }
        for _ in self.values.len()..self.length {
            f.write_str(" ")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_shows_the_last_values_from_zero() {
        let mut line = Sparkline::new(4);
        for value in [9.0, 0.0, 50.0, 100.0] {
            line.push(value);
        }
        assert_eq!(line.to_string(), "▂▁▅█");
        line.push(100.0);
        assert_eq!(line.to_string(), "▁▅██");
    }
}
