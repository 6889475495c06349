//! How a connection begins: who calls whom, in which cluster, for what.
//!
//! Both sides say `kontiki` + version, a byte (purpose, or verdict), cluster, own node, other's node, checksum. A cluster of
//! number zero is one that a server waiting to be added does not know yet.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Purpose;
use super::frame::damaged;

const MAGIC: [u8; 7] = *b"kontiki";
const VERSION: u8 = 1;
const HELLO_BYTES: usize = 7 + 1 + 1 + 3 * 8 + 4;

/// Who this server is. Clones share what it learns.
#[derive(Clone, Debug)]
pub struct Identity {
    pub node: u64,
    cluster: Arc<AtomicU64>,
}

/// What the other side of a new connection said, and was found to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub node: u64,
    pub cluster: u64,
    pub purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Verdict {
    Welcome = 1,
    OtherCluster = 2,
    OtherNode = 3,
    /// The caller's certificate is another server's.
    NotYou = 4,
}

struct Hello {
    byte: u8,
    cluster: u64,
    from: u64,
    to: u64,
}

impl Identity {
    /// A server in a cluster, or in one that it will learn of (zero).
    pub fn new(node: u64, cluster: u64) -> Self {
        Identity { node, cluster: Arc::new(AtomicU64::new(cluster)) }
    }

    pub fn cluster(&self) -> u64 {
        self.cluster.load(Ordering::SeqCst)
    }

    /// Takes on a cluster; the first one stays.
    pub fn adopt(&self, cluster: u64) {
        _ = self.cluster.compare_exchange(0, cluster, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Greets a server that was dialed; fails if it is another one than the one meant.
pub async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    me: &Identity,
    peer: u64,
    purpose: Purpose,
) -> io::Result<()> {
    let hello = Hello { byte: purpose as u8, cluster: me.cluster(), from: me.node, to: peer };
    stream.write_all(&hello.encode()).await?;
    stream.flush().await?;
    let answer = Hello::read(stream).await?;
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    match answer.byte {
        verdict if verdict == Verdict::Welcome as u8 && answer.from == peer => Ok(()),
        verdict if verdict == Verdict::OtherCluster as u8 => {
            refused(format!("it belongs to cluster {:x}, this server to {:x}", answer.cluster, me.cluster()))
        }
        verdict if verdict == Verdict::NotYou as u8 => {
            refused("it knows this server's certificate as another's".into())
        }
        _ => refused(format!("it is server {}, not {peer}", answer.from)),
    }
}

/// Hears a caller out, and answers.
pub async fn hear(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    me: &Identity,
    proven: Option<u64>,
) -> io::Result<Caller> {
    let hello = Hello::read(stream).await?;
    let purpose = Purpose::from_wire(hello.byte).ok_or_else(|| damaged(format!("purpose {}", hello.byte)))?;
    let cluster = me.cluster();
    let verdict = match () {
        () if hello.to != me.node => Verdict::OtherNode,
        () if proven.is_some_and(|proven| proven != hello.from) => Verdict::NotYou,
        () if cluster != 0 && hello.cluster != 0 && hello.cluster != cluster => Verdict::OtherCluster,
        () => Verdict::Welcome,
    };
    let answer = Hello { byte: verdict as u8, cluster, from: me.node, to: hello.from };
    stream.write_all(&answer.encode()).await?;
    stream.flush().await?;
    match verdict {
        Verdict::Welcome => Ok(Caller { node: hello.from, cluster: hello.cluster, purpose }),
        Verdict::NotYou => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("a caller that says it is server {} shows the certificate of another one", hello.from),
        )),
        Verdict::OtherCluster | Verdict::OtherNode => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("server {} of cluster {:x} looks for server {}", hello.from, hello.cluster, hello.to),
        )),
    }
}

impl Hello {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HELLO_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, self.byte]);
        for number in [self.cluster, self.from, self.to] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        out
    }

    async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Hello> {
        let mut bytes = [0; HELLO_BYTES];
        stream.read_exact(&mut bytes).await?;
        if bytes[..7] != MAGIC {
            return Err(damaged("not the protocol of kontiki's servers".into()));
        }
        if bytes[7] != VERSION {
            return Err(damaged(format!("version {} of the protocol; this server speaks {VERSION}", bytes[7])));
        }
        let (said, sum) = bytes.split_at(HELLO_BYTES - 4);
        if crc32fast::hash(said).to_le_bytes() != *sum {
            return Err(damaged("a hello with a wrong checksum".into()));
        }
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|offset| bytes[at + offset]));
        Ok(Hello { byte: bytes[8], cluster: number(9), from: number(17), to: number(25) })
    }
}
