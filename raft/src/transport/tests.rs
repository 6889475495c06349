//! Channels over streams in memory: order, loss, silence, and who is talked to.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

use tokio_util::sync::CancellationToken;

use super::channel::Connect;
use super::heard::Heard;
use super::{CallError, Channel, Frame, Identity, PeerStream, Purpose, accept};
use crate::limits::{FORMER_LEADER_SILENCE, MIB, PEER_SILENCE};

const ECHO: u8 = 1;
const HANG: u8 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// A channel from server 1 to whoever takes the streams.
fn channel() -> (Channel, mpsc::UnboundedReceiver<DuplexStream>) {
    let (dialed, streams) = mpsc::unbounded_channel();
    let connect: Connect = Arc::new(move || {
        let (ours, theirs) = duplex(MIB);
        let answer = dialed.send(theirs).map_err(|_| std::io::ErrorKind::ConnectionRefused.into());
        Box::pin(async move { answer.map(|()| Box::new(ours) as Box<dyn PeerStream>) })
    });
    (Channel::new(Identity::new(1, 7), (2, "b".into(), Heard::default()), Purpose::Forward, connect, false), streams)
}

/// Server 2: answers echoes, and nothing else.
async fn echo(stream: DuplexStream) {
    let incoming = accept(Box::new(stream), &Identity::new(2, 7), None).await.unwrap();
    assert_eq!((incoming.from(), incoming.cluster(), incoming.purpose()), (1, 7, Purpose::Forward));
    let closing = CancellationToken::new();
    let ended = incoming.run(&closing, |mut requests: mpsc::Receiver<Frame>, answers| async move {
        while let Some(request) = requests.recv().await {
            if request.kind == ECHO {
                answers.send(request).await.unwrap();
            }
        }
    });
    ended.await.unwrap();
}

#[tokio::test]
async fn requests_are_answered_by_number_and_survive_a_new_connection() {
    let (channel, mut streams) = channel();
    let server = tokio::spawn(async move {
        while let Some(stream) = streams.recv().await {
            tokio::spawn(echo(stream));
        }
    });
    for round in 0..3_u8 {
        let calls = (0..100_u8).map(|number| channel.call(ECHO, vec![round, number], PATIENCE));
        let answers = futures::future::try_join_all(calls).await.unwrap();
        let payloads: Vec<_> = answers.iter().map(|answer| answer.payload.to_vec()).collect();
        assert_eq!(payloads, (0..100).map(|number| vec![round, number]).collect::<Vec<_>>());
    }
    server.abort();
}

#[tokio::test]
async fn what_was_sent_is_lost_and_what_was_not_is_not() {
    let (channel, mut streams) = channel();
    let pending = channel.start(HANG, Bytes::new()).await.unwrap();
    let mut stream = streams.recv().await.unwrap();
    let mut hello = [0; 37];
    stream.read_exact(&mut hello).await.unwrap();
    drop(streams);
    drop(stream);
    // The hello was never answered: nothing can have been sent.
    let Err(CallError::NotSent(why)) = pending.answer().await else { panic!("it was sent") };
    assert!(why.contains("ended the connection without a word"), "{why}");
    assert!(matches!(channel.call(ECHO, Bytes::new(), PATIENCE).await, Err(CallError::NotSent(_))));

    let (channel, mut streams) = self::channel();
    let pending = channel.start(HANG, Bytes::new()).await.unwrap();
    let stream = streams.recv().await.unwrap();
    let incoming = accept(Box::new(stream), &Identity::new(2, 7), None).await.unwrap();
    incoming
        .run(&CancellationToken::new(), |mut requests, _answers| async move {
            assert_eq!(requests.recv().await.unwrap().kind, HANG)
        })
        .await
        .unwrap();
    assert!(matches!(pending.answer().await, Err(CallError::Lost(_))));
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let (channel, mut streams) = channel();
    let calling = tokio::spawn(async move { channel.call(ECHO, Bytes::new(), PATIENCE).await });
    let incoming = accept(Box::new(streams.recv().await.unwrap()), &Identity::new(2, 7), None).await.unwrap();
    let started = std::time::Instant::now();
    assert!(matches!(calling.await.unwrap(), Err(CallError::Lost(_))));
    assert!(started.elapsed() >= PEER_SILENCE && started.elapsed() < PATIENCE);
    drop(incoming);
}

/// Pongs count, which come often while an answer is waited for.
#[tokio::test(start_paused = true)]
async fn who_is_slow_to_answer_is_not_silent() {
    let (dialed, mut streams) = mpsc::unbounded_channel();
    let connect: Connect = Arc::new(move || {
        let (ours, theirs) = duplex(MIB);
        dialed.send(theirs).unwrap();
        Box::pin(async move { Ok(Box::new(ours) as Box<dyn PeerStream>) })
    });
    let heard = Heard::default();
    let channel = Channel::new(Identity::new(1, 7), (2, "b".into(), heard.clone()), Purpose::Forward, connect, false);
    let call = channel.start(HANG, Bytes::new()).await.unwrap();
    let server = tokio::spawn(echo(streams.recv().await.unwrap()));
    let silence = tokio::time::timeout(5 * FORMER_LEADER_SILENCE, heard.silence(FORMER_LEADER_SILENCE)).await;
    assert!(silence.is_err(), "it answers pings");
    server.abort();
    heard.silence(FORMER_LEADER_SILENCE).await;
    drop(call);
}

#[tokio::test]
async fn another_server_another_cluster_and_damage_are_refused() {
    for other in [Identity::new(3, 7), Identity::new(2, 8)] {
        let (channel, mut streams) = channel();
        let call = channel.call(ECHO, Bytes::new(), PATIENCE);
        let refuse = async {
            assert!(accept(Box::new(streams.recv().await.unwrap()), &other, None).await.is_err());
        };
        let (answer, ()) = tokio::join!(call, refuse);
        assert!(matches!(answer, Err(CallError::NotSent(_))), "{answer:?}");
    }
    // Its certificate is another server's.
    let (channel, mut streams) = channel();
    let call = channel.call(ECHO, Bytes::new(), PATIENCE);
    let refuse = async {
        assert!(accept(Box::new(streams.recv().await.unwrap()), &Identity::new(2, 7), Some(3)).await.is_err());
    };
    let (answer, ()) = tokio::join!(call, refuse);
    assert!(matches!(answer, Err(CallError::NotSent(_))), "{answer:?}");

    let (mut ours, theirs) = duplex(MIB);
    ours.write_all(&[0; 37]).await.unwrap();
    assert!(accept(Box::new(theirs), &Identity::new(2, 7), None).await.is_err());
}

#[tokio::test]
async fn a_damaged_frame_ends_the_connection() {
    let damage = Arc::new(Mutex::new(Vec::new()));
    for position in 0..25 {
        let mut frame = Vec::new();
        super::frame::put(&mut frame, 1, ECHO, b"payload!");
        frame[position] ^= 0x40;
        let read = super::frame::read(&mut &frame[..]).await;
        damage.lock().unwrap().push(read.is_err());
    }
    assert!(damage.lock().unwrap().iter().all(|refused| *refused));
}

#[tokio::test]
async fn a_channel_ends_its_connection_when_it_is_dropped() {
    let (channel, mut streams) = channel();
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let server = tokio::spawn(async move {
        echo(streams.recv().await.unwrap()).await;
        count.fetch_add(1, Ordering::SeqCst);
    });
    channel.call(ECHO, Bytes::new(), PATIENCE).await.unwrap();
    drop(channel);
    server.await.unwrap();
    assert_eq!(served.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_server_that_leaves_answers_what_it_was_sent_and_gets_no_more() {
    let (channel, mut streams) = channel();
    let closing = CancellationToken::new();
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { futures::future::join_all((0..50_u8).map(|number| channel.call(ECHO, vec![number], PATIENCE))).await }
    });
    let incoming = accept(Box::new(streams.recv().await.unwrap()), &Identity::new(2, 7), None).await.unwrap();
    let served = incoming.run(&closing, |mut requests: mpsc::Receiver<Frame>, answers| {
        let closing = closing.clone();
        async move {
            let held = requests.recv().await.unwrap();
            closing.cancel();
            answers.send(held).await.unwrap();
            while let Some(request) = requests.recv().await {
                answers.send(request).await.unwrap();
            }
        }
    });
    served.await.unwrap();
    assert!(first.await.unwrap().iter().all(Result::is_ok), "what was sent was answered");
}
