//! The three layers against one naive map, under random freezes.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use twin_core::numbers::CellId;
use twin_storage::{Family, Group, RowChange};

use crate::world::{CELL, append, apply, barrier, batch, crash_copy, fresh, open};

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<(u8, u8, Option<u8>)>),
    Checkpoint,
    Get(u8, u8),
    Scan { family: u8, prefix: Option<u8>, after: Option<u8>, limit: usize },
}

fn family(at: u8) -> Family {
    [Family::TwinHot, Family::SiteTwin][usize::from(at % 2)]
}

/// Keys of two characters, so that prefixes match several.
fn key(at: u8) -> Bytes {
    Bytes::from(vec![b'a' + at / 8 % 4, b'a' + at % 8])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((0..2_u8, 0..32_u8, prop::option::of(any::<u8>())), 0..8).prop_map(Step::Batch),
        1 => Just(Step::Checkpoint),
        2 => (0..2_u8, 0..32_u8).prop_map(|(family, key)| Step::Get(family, key)),
        3 => (0..2_u8, prop::option::of(0..4_u8), prop::option::of(0..32_u8), 0..12_usize)
            .prop_map(|(family, prefix, after, limit)| Step::Scan { family, prefix, after, limit }),
    ]
}

type Model = BTreeMap<(Family, Bytes), Bytes>;

fn expected_scan(
    model: &Model,
    family: Family,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> (Vec<(Bytes, Bytes)>, bool) {
    let mut all: Vec<_> = model
        .iter()
        .filter(|((of, key), _)| *of == family && key.starts_with(prefix) && after.is_none_or(|after| key[..] > *after))
        .map(|((_, key), value)| (key.clone(), value.clone()))
        .collect();
    let more = all.len() > limit || limit == 0;
    all.truncate(limit);
    (all, more)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reads_agree_with_a_plain_map(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (directory, storage) = fresh();
            let Group { mut log, mut state_machine, .. } = storage.group(CELL);
            append(&mut log, vec![barrier(1, 0, 0)]).await;
            apply(&mut state_machine, vec![barrier(1, 0, 0)]).await;
            let reader = storage.reader().group(CELL).expect("open");
            let mut model = Model::new();
            let mut n = 0;
            for step in steps {
                match step {
                    Step::Batch(rows) => {
                        n += 1;
                        let mut changes = Vec::new();
                        for (of, at, value) in rows {
                            let value = value.map(|value| Bytes::from(vec![value]));
                            match &value {
                                Some(value) => drop(model.insert((family(of), key(at)), value.clone())),
                                None => drop(model.remove(&(family(of), key(at)))),
                            }
                            changes.push(RowChange { family: family(of), key: key(at), value });
                        }
                        apply(&mut state_machine, vec![batch(1, n, n, changes)]).await;
                    }
                    Step::Checkpoint => {
                        storage.checkpoint().await.expect("the disk works");
                        prop_assert_eq!(storage.budgets().dirty_bytes(), 0);
                    }
                    Step::Get(of, at) => {
                        let (of, key) = (family(of), key(at));
                        let one = reader.get(of, &key).expect("readable");
                        let many = reader.get_many(&[(of, &key), (of, &key)]).expect("readable");
                        let expected = model.get(&(of, key)).cloned();
                        prop_assert_eq!(&one, &expected);
                        prop_assert_eq!(many, vec![expected.clone(), expected]);
                    }
                    Step::Scan { family: of, prefix, after, limit } => {
                        let prefix: Vec<u8> = prefix.map(|prefix| b'a' + prefix).into_iter().collect();
                        let after = after.map(key);
                        let scan = reader.scan(family(of), &prefix, after.as_deref(), limit).expect("readable");
                        let (rows, more) = expected_scan(&model, family(of), &prefix, after.as_deref(), limit);
                        prop_assert_eq!(scan.rows, rows);
                        prop_assert_eq!(scan.more, more);
                    }
                }
            }
            // What is in the file is the model too.
            storage.checkpoint().await.expect("the disk works");
            let reopened = open(crash_copy(directory.path()).path());
            for of in [Family::TwinHot, Family::SiteTwin] {
                let scan = reopened.reader().scan(CELL, of, b"", None, 4096).expect("readable");
                prop_assert_eq!(scan.rows, expected_scan(&model, of, b"", None, 4096).0);
            }
            Ok(())
        })?;
    }
}

/// Readers beside a writer and a checkpointer: every read is of one entry boundary.
#[test]
fn a_read_never_sees_half_an_entry() {
    let (_directory, storage) = fresh();
    let Group { mut state_machine, .. } = storage.group(CELL);
    let reader = storage.reader().group(CELL).expect("open");
    // Groups behind the one that is read: they stretch the moment in which a checkpoint is published.
    let mut behind: Vec<_> = (2..400).map(|cell| storage.group(CellId::new(cell)).state_machine).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let keys: Vec<_> = (0..16).map(|at| (Family::TwinHot, key(at))).collect();
                let mut highest = None;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let many = reader.get_many(&keys).expect("readable");
                    assert!(many.iter().all(|value| *value == many[0]), "{many:?}");
                    let scan = reader.scan(Family::TwinHot, b"", None, 100).expect("readable");
                    assert!(scan.rows.iter().all(|(_, value)| *value == scan.rows[0].1), "{:?}", scan.rows);
                    let seen = scan.rows.first().map(|(_, value)| value.clone());
                    assert!(seen >= highest, "went back from {highest:?} to {seen:?}");
                    highest = seen;
                }
            });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            apply(&mut state_machine, vec![barrier(1, 0, 0)]).await;
            for n in 1..600_u64 {
                let value = Bytes::copy_from_slice(&n.to_be_bytes());
                let rows = (0..16).map(|at| RowChange::put(Family::TwinHot, key(at), value.clone())).collect();
                apply(&mut state_machine, vec![batch(1, n, n, rows)]).await;
                if n % 10 == 0 {
                    for machine in &mut behind {
                        apply(machine, vec![barrier(1, n, n)]).await;
                    }
                    storage.checkpoint().await.expect("the disk works");
                }
            }
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
