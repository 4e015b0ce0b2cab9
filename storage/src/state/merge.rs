//! Three sorted layers as one: the newest layer that knows a key decides.

use bytes::Bytes;

/// A row in a layer; `None` is a deletion.
pub(super) type LayerRow = (Bytes, Option<Bytes>);

/// The next rows of the merged layers, newest layer first. Deleted rows are skipped.
pub(super) struct Merge<'a, E> {
    layers: Vec<Layer<'a, E>>,
}

struct Layer<'a, E> {
    rows: Box<dyn Iterator<Item = Result<LayerRow, E>> + 'a>,
    head: Option<LayerRow>,
}

impl<'a, E> Merge<'a, E> {
    /// Each layer must be sorted by key and name no key twice.
    pub(super) fn new(newest_first: Vec<Box<dyn Iterator<Item = Result<LayerRow, E>> + 'a>>) -> Result<Self, E> {
        let layers = newest_first
            .into_iter()
            .map(|mut rows| Ok(Layer { head: rows.next().transpose()?, rows }))
            .collect::<Result<_, E>>()?;
        Ok(Self { layers })
    }

    fn step(&mut self) -> Result<Option<LayerRow>, E> {
        let Some(key) = self.layers.iter().filter_map(|layer| Some(layer.head.as_ref()?.0.clone())).min() else {
            return Ok(None);
        };
        let mut newest = None;
        for layer in &mut self.layers {
            if layer.head.as_ref().is_some_and(|(head, _)| *head == key) {
                let row = std::mem::replace(&mut layer.head, layer.rows.next().transpose()?);
                newest = newest.or(row);
            }
        }
        Ok(newest)
    }
}

impl<E> Iterator for Merge<'_, E> {
    type Item = Result<(Bytes, Bytes), E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step() {
                Err(error) => return Some(Err(error)),
                Ok(None) => return None,
                Ok(Some((key, Some(value)))) => return Some(Ok((key, value))),
                Ok(Some((_, None))) => {}
            }
        }
    }
}
