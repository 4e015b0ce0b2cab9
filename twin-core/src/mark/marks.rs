//! The marks of the gateways that do not serve the device right now.

use super::Mark;
use crate::ids::GatewayId;
use crate::limits::MARKS_MAX;
use crate::recovery::Raise;

crate::record! {
    /// At most [`MARKS_MAX`] marks together with the current one, which the hot row holds.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Marks {
        /// In no order.
        others: Vec<Mark>,
        /// A mark was evicted in this life: an unknown gateway may be one that was known.
        evicted: bool = false,
    }
}

impl Marks {
    /// The gateway's mark, if it is kept here.
    pub fn get(&self, gateway: &GatewayId) -> Option<&Mark> {
        self.others.iter().find(|mark| mark.gateway == *gateway)
    }

    pub(crate) fn get_mut(&mut self, gateway: &GatewayId) -> Option<&mut Mark> {
        self.others.iter_mut().find(|mark| mark.gateway == *gateway)
    }

    pub(crate) fn take(&mut self, gateway: &GatewayId) -> Option<Mark> {
        let at = self.others.iter().position(|mark| mark.gateway == *gateway)?;
        Some(self.others.swap_remove(at))
    }

    /// Keeps a mark; where there would be too many, the one that attached longest ago goes (those that never attached
    /// first). Its gateway comes back only by a new stay.
    pub(crate) fn put(&mut self, mark: Mark) {
        self.others.push(mark);
        // One more is in the hot row.
        while self.others.len() > MARKS_MAX - 1 {
            let oldest = (0..self.others.len() - 1).min_by_key(|&at| self.others[at].attachment);
            self.others.swap_remove(oldest.unwrap_or(0));
            self.evicted = true;
        }
    }

    /// As they are in a new lineage.
    pub(crate) fn recover(&mut self, raise: Raise) {
        self.others.iter_mut().for_each(|mark| raise.mark(mark));
    }

    /// Was a mark evicted in this life?
    pub fn evicted(&self) -> bool {
        self.evicted
    }

    /// Marks kept here.
    pub fn len(&self) -> usize {
        self.others.len()
    }

    /// Is there nothing to store?
    pub fn is_empty(&self) -> bool {
        self.others.is_empty() && !self.evicted
    }
}
