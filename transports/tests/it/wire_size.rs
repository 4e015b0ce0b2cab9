//! What a report costs on the wire.

use bytes::BytesMut;
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;
use twin_transports::codec::encode;
use twin_transports::limits::FRAME_BYTES_MAX;

use crate::batcher::StateBatcher;

/// Bytes per report above the value's own, in batches of 250, when all ids and paths have been seen once.
fn bytes_above_the_value(stay: Stay, first: u64) -> f64 {
    let twins: Vec<TwinId> =
        (0..1000).map(|index| TwinId::new(&format!("store-17-label-{index:06}")).unwrap()).collect();
    let path = Path::from_keys(["environment", "temperature"]);
    let mut batcher = StateBatcher::new();
    let mut bytes = BytesMut::new();
    let (mut reports, mut values) = (0, 0);
    // The first round fills the tables; what counts is the everyday.
    for round in 0..20_u64 {
        for (index, twin) in twins.iter().enumerate() {
            let value = Value::from(20.0 + index as f64 / 100.0);
            let body = StateBody::Report(vec![Op::Set { path: path.clone(), value: value.clone() }]);
            let seq = Seq::new(first + round);
            batcher.push(twin, stay, seq, seq, &body).unwrap();
            if round > 0 {
                reports += 1;
                values += rmp_serde::to_vec(&value).unwrap().len();
            }
            if batcher.len() == 250 {
                let batch = batcher.take(None).unwrap();
                if round > 0 {
                    encode(&batch.into(), FRAME_BYTES_MAX, &mut bytes).unwrap();
                } else {
                    assert_eq!(batch.twins.len(), 250);
                }
            }
        }
    }
    assert!(batcher.is_empty());
    (bytes.len() - values) as f64 / f64::from(reports)
}

#[test]
fn a_batched_report_of_one_changed_number_costs_at_most_24_bytes_above_the_number() {
    let stays = [
        // A gateway that was started 300 times and attached the device 300 times since; a long stay.
        (Stay { boot: Boot::new(300), counter: 300 }, 60_000),
        // A stay of years.
        (Stay { boot: Boot::new(100), counter: 100 }, 3_000_000_000),
    ];
    for (stay, first) in stays {
        let above = bytes_above_the_value(stay, first);
        println!("{above:.2} bytes above the value");
        assert!(above <= 24.0, "{above:.2} bytes above the value");
    }
}
