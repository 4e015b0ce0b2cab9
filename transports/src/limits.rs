//! Every bound of the transport, with its reason.

use std::time::Duration;

use twin_core::limits::{DEPTH_MAX, NESTING_MAX};

/// Largest frame once authenticated: a full batch of small reports, or 16 full-size documents.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Largest frame before authentication: a hello is below 1 KiB.
pub const FRAME_BYTES_MAX_UNAUTHENTICATED: usize = 4 * 1024;
/// Most messages in one batch: one Raft entry's worth.
pub const BATCH_MESSAGES_MAX: usize = 256;
/// Most items of an attach, detach or received frame.
pub const ATTACH_ITEMS_MAX: usize = 256;
/// Most twins read by one frame: as many as a batch has messages.
pub const READ_TWINS_MAX: usize = 256;
/// Most bytes of views that answer one frame; of what is beyond, the node says when to ask again. A dozen twins of full size.
pub const READ_BYTES_MAX: usize = 1024 * 1024;
/// Frames of readings that a gateway may have unanswered.
pub const READS_IN_FLIGHT_MAX: usize = 8;
/// Views that wait to be sent, of a whole node: many thousand usual answers, and gateways that do not read theirs cannot make it
/// more.
pub const VIEWS_WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// When to ask again where views take more than that: the time in which a link takes a window's worth.
pub const READ_AGAIN_AFTER_MS: u64 = 10;
/// A frame of views is closed when it has this much: with the last view it is far below the largest frame, and the reader keeps
/// its buffer.
pub const VIEWS_FRAME_BYTES: usize = 48 * 1024;
/// Most twin ids interned per stream (about 6 MB of ids at their longest is refused by this and the byte bound).
pub const INTERNED_TWINS_MAX: usize = 16_384;
/// Most paths interned per stream.
pub const INTERNED_PATHS_MAX: usize = 16_384;
/// Most bytes of interned ids and paths per stream.
pub const INTERNED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Batches that a gateway may have unacknowledged on a stream.
pub const BATCHES_IN_FLIGHT_MAX: usize = 8;
/// What a message costs of a stream's credit besides its bytes: what it weighs besides its payload while it waits on the node.
pub const MESSAGE_CREDIT_BYTES: u64 = 768;
/// Largest window of credit: more than a gateway has under way, which is [`BATCHES_IN_FLIGHT_MAX`] full batches of usual reports (about
/// 2 MiB), so that it is never what holds up a gateway whose node has room.
pub const CREDIT_WINDOW_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// However many sessions are open, a window is at least the budget divided by this: so many may speak at once as fast as they can.
pub const CREDIT_SPEAKERS: u64 = 32;
/// Smallest window, as long as the node takes anything: a few usual messages.
pub const CREDIT_WINDOW_BYTES_MIN: u64 = 4 * 1024;
/// Windows shrink where a budget of the node is fuller than this: the log is half full as a rule, and rows that wait for a checkpoint
/// come and go by the second.
pub const CREDIT_SHRINKS_PERMILLE: u64 = 750;
/// From here on there are none: what is under way already fills the rest.
pub const CREDIT_FULL_PERMILLE: u64 = 950;
/// How often the node looks whether it has credit again for a stream that waits for nothing else.
pub const CREDIT_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A stream that got none for so long may send one batch all the same, and be told `busy`.
pub const CREDIT_PROBE_AFTER: Duration = Duration::from_secs(1);
/// How long a handshake may take, from the connection to the welcome.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the node asks for a heartbeat.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// Devices attached through one session.
pub const SESSION_TWINS_MAX: usize = 16_384;
/// Longest agent text in a hello.
pub const AGENT_BYTES_MAX: usize = 128;
/// Longest product key.
pub const PRODUCT_KEY_BYTES_MAX: usize = 64;
/// Largest certificate of a gateway: one of RSA with 4096 bits and a few names has 2 KiB.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;
/// Most certificates that a gateway shows: its own, and issuers that nobody here looks at.
pub const CERTIFICATE_CHAIN_MAX: usize = 4;
/// Most bytes of them: what QUIC keeps for a handshake whose packets overtake each other is not much more.
pub const CERTIFICATE_CHAIN_BYTES_MAX: usize = 12 * 1024;
/// Shortest RSA key in its encoding, which has a few bytes more: 2048 bits.
pub const RSA_KEY_BYTES_MIN: usize = 256;
/// Weakest signal that a gateway may tell of itself, in dBm.
pub const RSSI_DBM_MIN: i16 = -200;
/// Strongest, likewise.
pub const RSSI_DBM_MAX: i16 = 50;
/// Fullest battery.
pub const BATTERY_PERCENT_MAX: u8 = 100;
/// Highest load average, in hundredths: ten thousand processes that want to run.
pub const LOAD_HUNDREDTHS_MAX: u32 = 1_000_000;
/// Largest PEM text of a gateway's certificates, or of its key.
pub const PEM_BYTES_MAX: u64 = 64 * 1024;
/// Longest credentials file of a gateway: the CA's PEM takes about 1 KiB.
pub const CREDENTIALS_BYTES_MAX: u64 = 64 * 1024;
/// Longest PEM file of a node: a CA, a chain of certificates, a key.
pub const NODE_PEM_BYTES_MAX: u64 = 256 * 1024;
/// Length prefix of a frame on a stream.
pub const FRAME_HEADER_BYTES: usize = 4;
/// Levels of a frame around a value that it carries: frame, body, list, message, list of operations, operation, with room for
/// fields that are still to come.
const FRAME_LEVELS_MAX: usize = 16;
/// Deepest nesting of a frame's MessagePack. **Invariant:** what the rules admit (a payload nests deepest) fits a frame, both
/// ways, so that no application's value can end a session. Decoding recurses this deep at most, which a 2 MiB stack takes easily.
pub const FRAME_DEPTH_MAX: usize = NESTING_MAX + FRAME_LEVELS_MAX;
const _: () = assert!(NESTING_MAX >= DEPTH_MAX + 2, "a section of a document nests in properties and in the document");
/// Largest heartbeat datagram, so that it fits QUIC's smallest packet.
pub const DATAGRAM_BYTES_MAX: usize = 1024;
/// A reader's buffer grows by this much at a time while bytes arrive.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;
/// What an idle reader's buffer holds: three streams of ten thousand gateways wait in 120 MB.
pub const READ_BYTES_MIN: usize = 4 * 1024;
/// A reader or writer keeps its buffer for the next frame up to this size.
pub const KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// Streams that a gateway may have open at once: control, state, alarms, telemetry, readings, and as many again while they are
/// reopened.
pub const STREAMS_MAX: u32 = 10;
/// Unread bytes per stream: 5 MB/s at 50 ms round trip, far above a store's traffic.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Unread bytes per connection: state and events that a node does not read fill two streams' windows, and the third is left for
/// alarms, readings and control.
pub const CONNECTION_WINDOW_BYTES: u32 = 768 * 1024;
/// Unacknowledged bytes that a side keeps per connection, likewise.
pub const SEND_WINDOW_BYTES: u64 = 768 * 1024;
/// Datagrams waiting to be read or sent, per connection: newer heartbeats push out older ones.
pub const DATAGRAM_BUFFER_BYTES: usize = 8 * 1024;
/// A connection on which nothing arrived for this long is dead. NAT and radio hiccups in stores last seconds.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// A side that sent nothing for this long sends a ping: three fit into the idle timeout, and NAT bindings stay open.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Round trip that a gateway assumes before it knows: a first packet that met a node in the middle of its restart is sent again
/// after three times as long, where QUIC's usual guess would cost a second. On a slower network a few hundred bytes go twice.
pub const CLIENT_INITIAL_RTT: Duration = Duration::from_millis(150);
/// Connection attempts that may wait to be looked at; beyond, they are refused by QUIC itself.
pub const INCOMING_CONNECTIONS_MAX: usize = 1024;

/// Connections that have not authenticated yet, per node; a source has at most three quarters of them. Each costs about 40 KB for at
/// most the handshake's time.
pub const UNAUTHENTICATED_MAX: usize = 512;
/// Connections per node: 35 KB each.
pub const CONNECTIONS_MAX: usize = 12_000;
/// Requests on a control stream that may wait for their answers; beyond, the stream is not read.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 16;
/// Method calls that may wait to be written to a session.
pub const CALLS_QUEUED_MAX: usize = 64;
/// Twins of a session whose desired changes are being fetched.
pub const DESIRED_IN_FLIGHT_MAX: usize = 64;
/// Most deltas in one frame down.
pub const DESIRED_ITEMS_MAX: usize = 256;
/// Encoded deltas of a session that wait to be written; beyond, changes are noted and fetched later. A busy gateway takes this in
/// a few milliseconds, and ten thousand that take nothing hold 320 MB at the very most.
pub const DELTAS_WAITING_BYTES: usize = WRITE_BYTES;
/// Largest delta: a whole section of 32 KiB as MessagePack, or as many operations with long paths. What is larger as operations is
/// fetched, where a snapshot may say it in less.
pub const DELTA_BYTES_MAX: usize = 256 * 1024;
/// Deltas that follow a frame of deltas within this time...
pub const DELTAS_BUSY: Duration = Duration::from_millis(10);
/// ...wait this long for others: a change by itself goes at once, and many go together.
pub const DELTAS_LINGER: Duration = Duration::from_millis(2);
/// How often a session tells its twins what was delivered. What the device says that it applied within one to two of these needs no
/// telling: most devices follow at once, and a commit is saved for each.
pub const DELIVERED_INTERVAL: Duration = Duration::from_millis(500);
/// Frames are written together up to about this size.
pub const WRITE_BYTES: usize = 32 * 1024;
/// How often failed fetches of a session are tried again.
pub const FETCH_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a gateway may take to read why its session ended.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a stopping node waits for its sessions to end.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Length of the connection ids that a node makes: enough that they never meet by chance.
pub const CONNECTION_ID_BYTES: usize = 12;
/// At most this often a packet of an unknown connection is answered: ten thousand gateways learn of a restart within a second,
/// and forged packets cost little. (An answer is smaller than what it answers.)
pub const STATELESS_RESET_INTERVAL_MIN: Duration = Duration::from_micros(50);
