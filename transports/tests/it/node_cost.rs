//! What a report costs the node, counted rather than timed: allocations from the frame to the row, and the row's bytes.

use bytes::BytesMut;
use twin_core::command::{Command, Precondition, Sender, StateBody};
use twin_core::ids::{GatewayId, GatewayName, SiteId, TwinId};
use twin_core::numbers::{AttachmentNo, Boot, Floor, OutboxId, Seq, Stay, WallTime};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::rows::RowKind;
use twin_core::twin::{StepContext, Twin};
use twin_core::value::Value;
use twin_transports::codec::{UplinkFrame, decode_uplink, encode};
use twin_transports::intern::{InternReceiver, Received};
use twin_transports::limits::{BATCH_MESSAGES_MAX, FRAME_BYTES_MAX, FRAME_HEADER_BYTES};

use crate::batcher::StateBatcher;

/// Properties of a report: with their names about 300 bytes of JSON.
const PROPERTIES: usize = 12;
/// Most allocations of one update: the row and its shared handle. Measured 2.0.
const ALLOCATIONS_MAX: f64 = 2.5;
/// Most bytes of the hot row. Measured 370.
const ROW_BYTES_MAX: usize = 400;

fn sender() -> Sender {
    let gateway = GatewayId { site: SiteId::new("store-1").unwrap(), name: GatewayName::new("bs-1").unwrap() };
    Sender { gateway, outbox: OutboxId([7; 16]), stay: Stay { boot: Boot::new(1), counter: 1 } }
}

fn context(round: u64) -> StepContext {
    StepContext { now: WallTime::new(1_800_000_000_000 + round as i64 * 250), floor: Floor::default(), observed: false }
}

fn attached(id: &TwinId) -> Twin {
    let mut twin = Twin::absent(id.clone());
    let empty = Value::empty_object();
    let put = Command::Put {
        site: Some(sender().gateway.site),
        tags: empty.clone(),
        desired: empty,
        precondition: Precondition::None,
    };
    twin.step(put, context(0)).answer.unwrap();
    let attach = Command::Attach { sender: sender(), saw: AttachmentNo::default(), may_create: false };
    twin.step(attach, context(0)).answer.unwrap();
    twin
}

fn report(round: u64) -> StateBody {
    let set = |property: usize| Op::Set {
        path: Path::from_keys([format!("property-{property:02}")]),
        value: if property == 0 {
            "a text of usual length".into()
        } else {
            (round as f64 + property as f64 / 8.0).into()
        },
    };
    StateBody::Report((0..PROPERTIES).map(set).collect())
}

#[test]
fn a_report_that_overwrites_costs_a_few_allocations_and_a_row_of_its_size() {
    let ids: Vec<TwinId> =
        (0..BATCH_MESSAGES_MAX).map(|index| TwinId::new(&format!("label-{index:06}")).unwrap()).collect();
    let mut twins: Vec<Twin> = ids.iter().map(attached).collect();
    let (mut batcher, mut receiver) = (StateBatcher::new(), InternReceiver::new());
    let (mut allocations, mut updates, mut row_bytes) = (0, 0, 0);
    for round in 1..=4 {
        for id in &ids {
            batcher.push(id, sender().stay, Seq::new(round), Seq::new(round), &report(round)).unwrap();
        }
        let mut frame = BytesMut::new();
        encode(&batcher.take(None).unwrap().into(), FRAME_BYTES_MAX, &mut frame).unwrap();
        let frame = frame.freeze().slice(FRAME_HEADER_BYTES..);
        let sender = sender();
        let cost = allocation_counter::measure(|| {
            let Ok(Some(UplinkFrame::State(batch))) = decode_uplink(&frame) else { panic!("not a batch") };
            for (message, twin) in receiver.receive(batch).unwrap().into_iter().zip(&mut twins) {
                let sender = Sender { stay: message.stay, ..sender.clone() };
                let Received::Report(report) = message.body else { panic!("not a report") };
                let command = Command::Report { sender, first: message.first, last: message.last, report };
                let step = twin.step(command, context(round));
                step.answer.unwrap();
                let rows = twin.encode(step.changed);
                assert_eq!((rows.len(), rows[0].0), (1, RowKind::Hot));
                row_bytes = row_bytes.max(rows[0].1.as_ref().unwrap().len());
            }
        });
        // The first round fills the tables and makes the properties; what counts is the everyday.
        if round > 1 {
            allocations += cost.count_total;
            updates += ids.len();
        }
    }
    let allocations = allocations as f64 / updates as f64;
    println!("{allocations:.2} allocations an update, {row_bytes} bytes a row");
    assert!(allocations <= ALLOCATIONS_MAX, "{allocations:.2} allocations an update");
    assert!(row_bytes <= ROW_BYTES_MAX, "{row_bytes} bytes a row");
}
