//! Every bound of the HTTP layer, by name, and how they relate.

use std::time::Duration;

/// Largest body of an object request.
pub const REQUEST_BODY_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Largest body of a transaction, and the operations in it. The log takes more in one entry: an object with its head, the
/// values it holds and what it relies on is larger than what the client sends.
pub const TRANSACTION_BYTES_MAX: usize = 8 * 1024 * 1024;
pub const TRANSACTION_OPERATIONS_MAX: usize = 1_000;
/// Of a refused request's body so much is received, and dropped, before the connection is closed.
pub const DRAIN_BYTES_MAX: usize = 16 * 1024 * 1024;
/// And for so long.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(2);
/// Connections served at once on a socket. Beyond that the eldest is closed of those whose clients have not proved who they are.
pub const CONNECTIONS_MAX: usize = 20_000;
/// So many of them are not closed for others, once a request on them was authenticated, a few more if it was by a certificate; and
/// so many of one user.
pub const KNOWN_CONNECTIONS_MAX: usize = 18_000;
pub const CERTIFIED_CONNECTIONS_MAX: usize = 19_000;
pub const KNOWN_CONNECTIONS_OF_USER_MAX: usize = 5_000;
/// Connections beyond that which are being closed; when there are more, nobody is let in.
pub const CLOSING_CONNECTIONS_MAX: usize = 1_000;
/// A connection without a request, and without an answer under way, is closed after this time; Kubernetes' figure. One of HTTP/1.1
/// is before, when no head comes.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(90);
/// An answer is given up, with its connection, when its client takes nothing of it for so long, and as much as all answers on the
/// connection need at this rate; but no longer than a stalled watch.
pub const UNTAKEN_TIME_MAX: Duration = Duration::from_secs(60);
pub const TAKING_BYTES_PER_S: usize = 128 * 1024;
/// When memory is full of answers, that is what each has to be taken whole, with this instead.
pub const TAKING_TIME_MIN: Duration = Duration::from_secs(10);
/// How often a connection with such answers is looked at, and one with streams.
pub const UNTAKEN_LOOK_INTERVAL: Duration = Duration::from_secs(5);
pub const STREAMS_LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// A larger answer is sent in pieces of this size, so that it is seen to be taken.
pub const PIECE_BYTES: usize = 64 * 1024;
/// A connection whose certificate comes to have less than this left takes no further request: its client may have a newer one.
pub const CERTIFICATE_TIME_MIN: Duration = Duration::from_secs(300);
/// Requests at once in work or in a queue, watches and tunnels excepted; further ones get 429. No single user comes near it,
/// except who is exempt.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 5_000;
/// Watches, tunnels and log streams at once; further ones get 429.
pub const LONG_REQUESTS_MAX: usize = 100_000;
/// Seconds that a refused client is told to wait.
pub const RETRY_AFTER_S: i32 = 1;
/// A request that is not a watch or a tunnel is given up after this time.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// A client must finish its TLS handshake within this time.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A client must send the head of a request within this time (HTTP/1.1).
pub const HEADER_TIME_MAX: Duration = Duration::from_secs(30);
/// Headers of one request: room for the largest token, and for groups to act as. More is refused with 431.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A client's own name of its request; a longer one is not taken over.
pub const AUDIT_ID_BYTES_MAX: usize = 64;
/// Path and query of one request. More is refused with 414.
pub const URI_BYTES_MAX: usize = 32 * 1024;
/// Beyond these, hyper refuses a head that nobody has seen: with the same codes, and without a word.
pub const RAW_HEADER_BYTES_MAX: u32 = 384 * 1024;
pub const RAW_HEADERS_MAX: usize = 1_000;
/// Concurrent streams of one HTTP/2 connection, and of one that was made without a certificate; the latter is Kubernetes' figure.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1_000;
pub const STREAMS_OF_STRANGERS_MAX: u32 = 100;
/// A connection is probed after this much silence: one of HTTP/2 by a ping, and closed when that goes unanswered for as long again; any
/// by TCP.
pub const KEEP_ALIVE_TIME: Duration = Duration::from_secs(30);
/// A stream whose client takes nothing ends after this time; so does any connection whose client's machine takes nothing, tunnels
/// excepted.
pub const STALLED_TIME_MAX: Duration = Duration::from_secs(300);
/// What such a watch writes in one piece, about.
pub const ENDLESS_WRITE_BYTES: usize = 32 * 1024;
/// What a client says over a WebSocket that tells an answer is ignored: more in one message ends it.
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 64 * 1024;
pub const WEBSOCKET_READ_BYTES: usize = 4 * 1024;
/// What its client gets to say goodbye at its end, and to take what is left when the server stops.
pub const GOODBYE_TIME_MAX: Duration = Duration::from_secs(2);
/// After shutdown is asked for, open requests get this long to end.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(10);
/// A connection that is younger than this when the server stops may still ask for something.
pub const FIRST_REQUEST_TIME: Duration = Duration::from_millis(500);
/// When the server stops, an idle HTTP/1.1 connection has this long to send what their clients are about to send.
pub const LINGER_TIME: Duration = Duration::from_millis(500);
/// Pause after a connection could not be accepted.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the server's certificate is looked at.
pub const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(12 * 3600);
/// The first objects of a new cluster must be there within this time; after it they are tried for in the background.
pub const BOOTSTRAP_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause between attempts to make them.
pub const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(500);
/// First objects that are written at the same time: about what one sync of the log takes in.
pub const BOOTSTRAP_WRITES_AT_ONCE: usize = 32;
/// Connecting to a node agent.
pub const NODE_CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Connecting to one endpoint of a Service, and the TLS handshake with it.
pub const SERVICE_CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// An endpoint that has not answered for so long is joined by the next one; the first connection wins.
pub const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);
/// Connections to one server of aggregated APIs that wait for a request, and for how long: less than servers wait for one.
pub const WAITING_CONNECTIONS_MAX: usize = 32;
pub const WAITING_CONNECTION_TIME_MAX: Duration = Duration::from_secs(30);
/// What is sent to such a server and not acknowledged for so long ends the connection.
pub const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(15);
/// How often the APIServices are looked at, beside when they change.
pub const AGGREGATION_INTERVAL: Duration = Duration::from_secs(1);
/// How often a server of an aggregated API is asked whether it lives, and for its documents; how soon again if it does not answer.
pub const AVAILABILITY_INTERVAL: Duration = Duration::from_secs(5);
pub const AGGREGATED_DOCUMENTS_INTERVAL: Duration = Duration::from_secs(60);
pub const AGGREGATION_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Such a server's answer to this one's own question.
pub const AGGREGATED_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
pub const AGGREGATED_DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A page from behind a proxied path whose links are corrected; a larger one goes on as it is.
pub const PROXIED_PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Connecting to another server, handshake included.
pub const PEER_CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// Another server's answer to a question about itself.
pub const PEER_ANSWER_TIME_MAX: Duration = Duration::from_millis(1500);
pub const PEER_ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// A health check that asks the quorum waits this long for it.
pub const QUORUM_TIME_MAX: Duration = Duration::from_secs(1);
/// How often the leader looks which servers live, and after how many failures one counts as dead.
pub const SERVER_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the leader looks whether what every cluster has is there.
pub const FIRST_OBJECTS_INTERVAL: Duration = Duration::from_secs(10);
/// After which pause a definition that is to go is looked at again, and the longest one: it doubles while objects are left.
pub const DEFINITIONS_RETRY_INTERVAL: Duration = Duration::from_millis(500);
pub const DEFINITIONS_RETRY_INTERVAL_MAX: Duration = Duration::from_secs(30);
pub const SERVER_CHECK_FAILURES: u32 = 2;
/// Joins judged at once; further ones get 429. With the pause after a refusal, guessing secrets is hopeless.
pub const JOINS_IN_FLIGHT_MAX: usize = 8;
pub const JOIN_REFUSAL_PAUSE: Duration = Duration::from_millis(500);
/// A new server must have caught up with the log within this time, or is told to ask again.
pub const MEMBER_CHANGE_TIME_MAX: Duration = Duration::from_secs(50);
/// Pods of a namespace that are looked at when it begins to forbid more, for how long at most, and after how many others get a turn.
pub const NAMESPACE_PODS_MAX: usize = 3000;
pub const NAMESPACE_PODS_TIME_MAX: Duration = Duration::from_secs(1);
pub const NAMESPACE_PODS_AT_ONCE: usize = 64;
/// Characters of all warnings of an answer; those that come when it is used up are dropped, and the one that would exceed it is cut.
pub const WARNINGS_CHARS_MAX: usize = 4 * 1024;
pub const WARNING_CHARS_CUT: usize = 256;
/// Responses below this size are not worth compressing.
pub const GZIP_BYTES_MIN: usize = 128 * 1024;
/// Lifetime of a service account token that does not ask for one, and the bounds of what may be asked for.
pub const TOKEN_LIFETIME_S_DEFAULT: i64 = 3600;
pub const TOKEN_LIFETIME_S_MIN: i64 = 600;
pub const TOKEN_LIFETIME_S_MAX: i64 = 1 << 32;
/// Issuers of tokens besides the cluster, and keys of one.
pub const ISSUERS_MAX: usize = 64;
pub const ISSUER_KEYS_MAX: usize = 100;
/// An issuer's answer to one question.
pub const ISSUER_ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// An issuer is asked for its keys no more often than this, whatever tokens name.
pub const ISSUER_ASK_INTERVAL_MIN: Duration = Duration::from_secs(5);
/// Keys older than this are asked for again when the next token comes; while the issuer is away they count this much longer.
pub const ISSUER_KEYS_AGE_MAX: Duration = Duration::from_secs(600);
pub const ISSUER_KEYS_STALE_MAX: Duration = Duration::from_secs(24 * 3600);
const _: () = assert!(ISSUER_ASK_INTERVAL_MIN.as_secs() < ISSUER_KEYS_AGE_MAX.as_secs());
/// What the expressions that judge one token may cost together; Kubernetes' bound.
pub const EXPRESSIONS_COST_MAX: u64 = 10_000_000;
/// Largest bearer token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Pieces of a snapshot, of a chunk each, between the disk and a connection.
pub const SNAPSHOT_PIECES_MAX: usize = 4;
/// One command of a restore: what the log takes.
pub const RESTORE_COMMAND_PARTS_MAX: usize = kontiki_raft::limits::COMMAND_PARTS_MAX;
pub const RESTORE_COMMAND_BYTES_MAX: usize = kontiki_raft::limits::ENTRY_BYTES_MAX;
/// How often a restore compares anew because others write meanwhile.
pub const RESTORE_ATTEMPTS_MAX: usize = 32;
/// So many owners above an object are looked at for the order of a restore.
pub const OWNERS_DEPTH_MAX: usize = 16;

const _: () = assert!(KNOWN_CONNECTIONS_MAX < CERTIFIED_CONNECTIONS_MAX && CERTIFIED_CONNECTIONS_MAX < CONNECTIONS_MAX);
const _: () = assert!(KNOWN_CONNECTIONS_OF_USER_MAX < KNOWN_CONNECTIONS_MAX);
const _: () = assert!(UNTAKEN_LOOK_INTERVAL.as_secs() < TAKING_TIME_MIN.as_secs());
const _: () = assert!(TAKING_TIME_MIN.as_secs() < UNTAKEN_TIME_MAX.as_secs());
const _: () = assert!(HEADER_TIME_MAX.as_secs() < IDLE_TIME_MAX.as_secs());
const _: () = assert!(WARNING_CHARS_CUT < WARNINGS_CHARS_MAX);
const _: () = assert!(NEXT_ADDRESS_DELAY.as_millis() < SERVICE_CONNECT_TIME_MAX.as_millis());
const _: () = assert!(DRAIN_BYTES_MAX > REQUEST_BODY_BYTES_MAX && DRAIN_BYTES_MAX > TRANSACTION_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX > REQUEST_BODY_BYTES_MAX, "what fits a request fits a transaction");
const _: () = assert!(TOKEN_BYTES_MAX < HEADER_BYTES_MAX && HEADER_BYTES_MAX < RAW_HEADER_BYTES_MAX as usize);
const _: () = assert!(URI_BYTES_MAX < u16::MAX as usize, "as much as the type of URIs can hold");
const _: () = assert!(GZIP_BYTES_MIN < REQUEST_BODY_BYTES_MAX);
const _: () =
    assert!(TOKEN_LIFETIME_S_MIN <= TOKEN_LIFETIME_S_DEFAULT && TOKEN_LIFETIME_S_DEFAULT <= TOKEN_LIFETIME_S_MAX);
const _: () = assert!(QUORUM_TIME_MAX.as_millis() < PEER_ANSWER_TIME_MAX.as_millis());
const _: () = assert!(MEMBER_CHANGE_TIME_MAX.as_secs() < REQUEST_TIME_MAX.as_secs());
const _: () = assert!(GOODBYE_TIME_MAX.as_secs() < SHUTDOWN_TIME_MAX.as_secs());
const _: () = assert!(SHUTDOWN_TIME_MAX.as_secs() < REQUEST_TIME_MAX.as_secs());
