//! Many registered twins at once: written into the state file of a node that is not running.
//!
//! One twin is registered and reported through a gateway, as any other. Then the node stops, and every row that carries its id is
//! copied for each further id, in key order. So the rows are whatever this release writes, at millions a minute. The file is denser
//! than one that grew row by row.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableHandle as _};
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, Options, Report};

use crate::document::Documents;
use crate::node_process::NodeSpec;

/// Cache while writing.
const CACHE_BYTES: usize = 256 * 1024 * 1024;
/// Rows of a commit.
const COMMIT_ROWS: u64 = 500_000;

type Rows<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// The id of a seeded twin. All have the same length, and rise with the number.
pub(crate) fn seeded_id(number: u64) -> String {
    format!("cold-{number:010}")
}

/// Bytes that carry a twin's id, in known places.
struct Renamed {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Renamed {
    /// Of the first twin.
    fn first(bytes: &[u8]) -> Self {
        let id = seeded_id(0);
        let carries = |at: &usize| bytes[*at..].starts_with(id.as_bytes());
        Self { bytes: bytes.to_vec(), places: (0..bytes.len()).filter(carries).collect() }
    }

    /// The same with another id.
    fn to(&mut self, id: &str) -> &[u8] {
        for place in &self.places {
            self.bytes[*place..*place + id.len()].copy_from_slice(id.as_bytes());
        }
        &self.bytes
    }
}

/// A row of the first twin, to be copied.
struct Template {
    table: String,
    key: Renamed,
    value: Renamed,
}

/// Registers `twins` twins with a reported document in `site`, on a node that does not run; of none, only the site is made.
pub(crate) fn seed(spec: &mut NodeSpec, site: &str, twins: u64, documents: &Arc<Documents>) -> anyhow::Result<()> {
    let node = spec.start()?;
    let rest = spec.rest()?;
    let dir = spec.data_dir.with_extension("seed");
    std::fs::create_dir_all(&dir)?;
    rest.open_site(site)?;
    let file = dir.join("gateway.json");
    rest.add_gateway(site, "seeding", &file)?;
    let credentials = Credentials::load(&file)?;
    if twins > 0 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let gateway = Gateway::open(Options::new(spec.quic.to_string(), credentials, dir.join("outbox")))?;
            let report = Report::new(TwinId::new(&seeded_id(0))?, documents.value(0));
            gateway.report_many(vec![report]).await?;
            gateway.drained().await?;
            gateway.shutdown().await;
            anyhow::Ok(())
        })?;
    }
    node.stop()?;
    if twins > 1 { copy(&spec.data_dir.join("state.redb"), twins) } else { Ok(()) }
}

fn copy(file: &Path, twins: u64) -> anyhow::Result<()> {
    let db = Database::builder().set_cache_size(CACHE_BYTES).open(file).context("the node's state file")?;
    let mut templates = templates(&db)?;
    if templates.is_empty() {
        bail!("no row of the state file carries the id {}", seeded_id(0));
    }
    for template in &mut templates {
        let table = Rows::new(&template.table);
        let mut next = 1;
        while next < twins {
            let until = (next + COMMIT_ROWS).min(twins);
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            txn.set_quick_repair(true);
            {
                let mut table = txn.open_table(table)?;
                for number in next..until {
                    let id = seeded_id(number);
                    table.insert(template.key.to(&id), template.value.to(&id))?;
                }
            }
            txn.commit()?;
            next = until;
        }
    }
    Ok(())
}

fn templates(db: &Database) -> anyhow::Result<Vec<Template>> {
    let read = db.begin_read()?;
    let mut templates = Vec::new();
    for table in read.list_tables()? {
        let name = table.name().to_owned();
        // Tables of other types hold no rows of twins.
        let Ok(rows) = read.open_table(Rows::new(&name)) else { continue };
        for row in rows.iter()? {
            let (key, value) = row?;
            let key = Renamed::first(key.value());
            if !key.places.is_empty() {
                templates.push(Template { table: name.clone(), key, value: Renamed::first(value.value()) });
            }
        }
    }
    Ok(templates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_occurrence_of_the_id_is_renamed() {
        let bytes = [b"a\0", seeded_id(0).as_bytes(), b"b", seeded_id(0).as_bytes()].concat();
        let wanted = [b"a\0", seeded_id(77).as_bytes(), b"b", seeded_id(77).as_bytes()].concat();
        assert_eq!(Renamed::first(&bytes).to(&seeded_id(77)), wanted);
    }

    #[test]
    fn ids_keep_their_length_and_order() {
        assert_eq!(seeded_id(0).len(), seeded_id(9_999_999_999).len());
        assert!(seeded_id(9) < seeded_id(10));
    }
}
