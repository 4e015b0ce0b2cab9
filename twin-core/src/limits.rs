//! Every bound of the twin, with its reason. Sizes are in bytes of compact JSON unless said otherwise.

use std::time::Duration;

/// Longest twin id. Azure IoT Hub's bound, so that ids can be taken over.
pub const TWIN_ID_BYTES_MAX: usize = 128;
/// Longest site id. Site ids are metric labels and file names, hence short.
pub const SITE_ID_BYTES_MAX: usize = 64;
/// Longest gateway name.
pub const GATEWAY_NAME_BYTES_MAX: usize = 64;
/// Longest name of an admin token.
pub const TOKEN_NAME_BYTES_MAX: usize = 64;
/// Longest method or event name.
pub const NAME_BYTES_MAX: usize = 128;

/// Largest `tags` section.
pub const TAGS_BYTES_MAX: usize = 8 * 1024;
/// Largest `desired` section.
pub const DESIRED_BYTES_MAX: usize = 32 * 1024;
/// Largest `reported` section.
pub const REPORTED_BYTES_MAX: usize = 32 * 1024;
/// Deepest nesting below the section's own object: `{"a": 1}` has depth 1.
pub const DEPTH_MAX: usize = 10;
/// Deepest nesting of arrays and objects that is read at all, from JSON or from a frame. Document rules are stricter;
/// this one bounds recursion, and payloads.
pub const NESTING_MAX: usize = 64;
/// Longest key.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest string value.
pub const STRING_BYTES_MAX: usize = 4 * 1024;
/// Integers lie within +- this, so that every one is exact in a double and in JavaScript.
pub const INTEGER_MAX: i64 = 1 << 52;
/// Most nodes (object members and array elements, at any depth) in a section: bounds the metadata, which is per node.
pub const NODES_MAX: usize = 1024;

/// Largest payload of an event, of a method call and of its answer.
pub const PAYLOAD_BYTES_MAX: usize = 32 * 1024;
/// Largest payload of an alarm: it says what is wrong, it is no log file. Small, so that the share of each budget that is kept for
/// alarms holds many.
pub const ALARM_PAYLOAD_BYTES_MAX: usize = 4 * 1024;
/// Most path operations in one report. A section has no more nodes than this.
pub const OPS_MAX: usize = NODES_MAX;
/// Longest reason given with a rejection.
pub const REASON_BYTES_MAX: usize = 1024;

/// Most gateways whose marks a twin keeps: a device is rarely in reach of more base stations.
pub const MARKS_MAX: usize = 16;
/// Removed keys of `desired` that are remembered for deltas; beyond, the delta floor rises.
pub const GRAVES_MAX: usize = 64;
/// Bytes of the keys of those removed paths: long keys must not make the row of `desired` larger than the section.
pub const GRAVES_BYTES_MAX: usize = 8 * 1024;
/// Rejections kept per twin, oldest out first.
pub const REJECTIONS_MAX: usize = 16;
/// Bytes of the paths and reasons of those rejections; oldest out first as well.
pub const REJECTIONS_BYTES_MAX: usize = 16 * 1024;
/// Alarms kept per twin for reading, oldest out first. Observers hear of all.
pub const ALARMS_MAX: usize = 16;
/// Bytes of the names and payloads of those alarms; oldest out first as well.
pub const ALARMS_BYTES_MAX: usize = 16 * 1024;
/// One part in so many of each budget between a gateway and the disk is kept for alarms, or comes on top for them: the outbox's
/// bytes, a session's credit, the bytes admitted to a node, its dirty rows, its log, its reserve of disk. An alarm of usual size has
/// 200 bytes, so the smallest of these shares holds hundreds.
pub const ALARM_RESERVE_PART: u64 = 16;
/// Method calls of one twin that wait for an answer.
pub const OPEN_CALLS_MAX: usize = 8;

/// Longest idempotency key: a UUID has 36 characters.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 64;
/// Idempotency keys that a twin remembers of changes, and as many of method calls: what its clients may be in doubt about at a time.
/// About 100 bytes each, in a row that reports do not write.
pub const IDEMPOTENCY_KEYS_MAX: usize = 8;
/// Largest answer of a method call with a key that is kept for its repeats, in bytes; of a larger one the status is kept. Eight of them
/// are in a row that reports do not write.
pub const CALL_ANSWER_KEPT_BYTES_MAX: usize = 1024;
/// A key is remembered for at least this long, by the owner's monotonic clock: longer than a client's retries go on while nodes
/// restart, and short enough that eight changes in it are rare.
pub const IDEMPOTENCY_KEPT_MIN: Duration = Duration::from_secs(5 * 60);

/// Most grains active at once on a node.
pub const ACTIVE_GRAINS_MAX: usize = 100_000;
/// A grain with no message for this long passivates.
pub const GRAIN_IDLE_AFTER: Duration = Duration::from_secs(60);
/// Bytes of messages admitted to a node's grains and not yet answered; beyond, `busy`.
pub const ADMITTED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most turns of a batch before what they changed goes to be committed: until then their grains are held.
pub const TURNS_MAX: usize = 64;
/// Bytes of changed rows after which it goes at once, however few turns.
pub const TURNS_BYTES_MAX: usize = 128 * 1024;
