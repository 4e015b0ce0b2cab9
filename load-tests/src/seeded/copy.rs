//! Rows of a few twins, copied for all others: written into the state file of a node that is not running.

use std::path::Path;

use anyhow::{Context as _, bail};
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _};

use super::seeded_id;

/// Cache while writing.
const CACHE_BYTES: usize = 256 * 1024 * 1024;

pub(super) type Rows<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// Bytes that carry a twin's id, in known places.
#[derive(Clone, Debug)]
pub(crate) struct Renamed {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Renamed {
    /// Bytes that carry `id` somewhere, or not.
    fn of(bytes: &[u8], id: &str) -> Self {
        let carries = |at: &usize| bytes[*at..].starts_with(id.as_bytes());
        Self { bytes: bytes.to_vec(), places: (0..bytes.len()).filter(carries).collect() }
    }

    /// The same with another id, of the same length.
    pub(crate) fn to(&mut self, id: &str) -> &[u8] {
        for place in &self.places {
            self.bytes[*place..*place + id.len()].copy_from_slice(id.as_bytes());
        }
        &self.bytes
    }
}

/// A row of each template twin, in order of their numbers: what is copied.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) table: String,
    pub(super) rows: Vec<(Renamed, Renamed)>,
}

/// Copies the rows of twins `0..count` for the numbers `count..twins`, twin `n % count` being the model of twin `n`; says what
/// it copied.
pub(super) fn copy(file: &Path, count: u64, twins: u64) -> anyhow::Result<Vec<Template>> {
    let db = Database::builder().set_cache_size(CACHE_BYTES).open(file).context("the node's state file")?;
    let templates = templates(&db, count)?;
    if templates.is_empty() {
        bail!("no row of the state file carries the id {}", seeded_id(0));
    }
    let mut writing = templates.clone();
    for template in &mut writing {
        // One transaction: its pages are written while it goes on, and the disk is waited for once. The node does not run, so
        // half of it is of no use to anybody.
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_quick_repair(true);
        {
            let mut table = txn.open_table(Rows::new(&template.table))?;
            for number in count..twins {
                let id = seeded_id(number);
                let (key, value) = &mut template.rows[(number % count) as usize];
                table.insert(key.to(&id), value.to(&id))?;
            }
        }
        txn.commit()?;
    }
    Ok(templates)
}

fn templates(db: &Database, count: u64) -> anyhow::Result<Vec<Template>> {
    let ids: Vec<String> = (0..count).map(seeded_id).collect();
    let read = db.begin_read()?;
    let mut templates = Vec::new();
    for table in read.list_tables()? {
        let name = table.name().to_owned();
        // Tables of other types hold no rows of twins.
        let Ok(rows) = read.open_table(Rows::new(&name)) else { continue };
        // A family may have several rows of a twin: the first of each makes one template, the second the next.
        let mut of_twin: Vec<Vec<(Renamed, Renamed)>> = vec![Vec::new(); ids.len()];
        for row in rows.iter()? {
            let (key, value) = row?;
            let named = |id: &&String| key.value().windows(id.len()).any(|window| window == id.as_bytes());
            if let Some((at, id)) = ids.iter().enumerate().find(|(_, id)| named(id)) {
                of_twin[at].push((Renamed::of(key.value(), id), Renamed::of(value.value(), id)));
            }
        }
        let rows_each = of_twin.first().map_or(0, Vec::len);
        if of_twin.iter().any(|rows| rows.len() != rows_each) {
            bail!("table {name} does not hold as many rows of each seeding gateway's twin");
        }
        for at in 0..rows_each {
            let rows = of_twin.iter().map(|rows| rows[at].clone()).collect();
            templates.push(Template { table: name.clone(), rows });
        }
    }
    Ok(templates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_of_the_id_is_renamed() {
        let bytes = [b"a\0", seeded_id(3).as_bytes(), b"b", seeded_id(3).as_bytes()].concat();
        let wanted = [b"a\0", seeded_id(77).as_bytes(), b"b", seeded_id(77).as_bytes()].concat();
        assert_eq!(Renamed::of(&bytes, &seeded_id(3)).to(&seeded_id(77)), wanted);
    }
}
