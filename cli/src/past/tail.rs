//! `kontiki tail`: the log's events on standard output, in order, each once, whichever server they come from.

use std::{
    io::{self, Write},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use bytes::{Buf, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::{io::Interest, net::unix::pipe};

use super::{
    gone,
    names::{self, encode},
    show,
};
use crate::{
    args::{Tail, TailForm},
    client::{Client, Payload, Refused},
};

/// A server says every two seconds that it lives: one that is silent for so long is asked no more.
const SILENCE_MAX: Duration = Duration::from_secs(7);
/// How long no server may answer before the stream is given up.
const OUTAGE_TIME_MAX: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(200);
/// One line holds an object twice, each at most as large as a log entry.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

pub async fn tail(arguments: Tail) -> Result<()> {
    let client = Client::open(&arguments.cluster).await?;
    let mut query = Vec::new();
    if !arguments.resource.is_empty() {
        let resources = names::resources(&client).await?;
        for name in &arguments.resource {
            let (resource, _) = gone::resource(&client, &resources, name).await?;
            query.push(format!("resource={}", encode(&resource.qualified())));
        }
    }
    query.extend(arguments.namespace.as_ref().map(|namespace| format!("namespace={}", encode(namespace))));
    query.extend(arguments.lasting.then(|| "class=lasting".to_owned()));
    let mut stream = Stream {
        query: query.join("&"),
        from: arguments.from,
        seen: None,
        heard: false,
        cluster: String::new(),
        form: arguments.output,
    };
    tokio::select! {
        ended = stream.run(&client) => match ended {
            // Whoever reads has had enough.
            Err(error) if is_broken_pipe(&error) => Ok(()),
            ended => ended,
        },
        () = reader_gone() => Ok(()),
    }
}

/// Returns when nobody reads standard output any more, though nothing comes that could be written to it.
async fn reader_gone() {
    let out = io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    // A file has no reader: nothing is to be waited for.
    if let Ok(out) = out
        && out.ready(Interest::ERROR).await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

struct Stream {
    query: String,
    /// Where the user asked to begin.
    from: Option<String>,
    /// Everything up to this revision was written.
    seen: Option<u64>,
    /// A server has told something of the log since the last outage.
    heard: bool,
    cluster: String,
    form: TailForm,
}

/// Why one connection's stream ended.
#[derive(Debug)]
enum Ended {
    /// After a while, as streams do: the next one goes on.
    Over,
    /// Another server, or this one later, may go on.
    Broken(anyhow::Error),
    /// Nobody can.
    Final(anyhow::Error),
}

impl Stream {
    async fn run(&mut self, client: &Client) -> Result<()> {
        let mut outage: Option<Instant> = None;
        // It is tried many times a second, and told when it becomes another thing.
        let mut told = None;
        loop {
            let error = match self.follow(client).await {
                Ended::Final(error) => return Err(error),
                Ended::Broken(error) => error,
                Ended::Over => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            if self.seen.is_none() {
                return Err(error);
            }
            // On a cluster where nothing happens the revision stays the same.
            if std::mem::take(&mut self.heard) {
                (outage, told) = (None, None);
            }
            let since = *outage.get_or_insert_with(Instant::now);
            if since.elapsed() > OUTAGE_TIME_MAX {
                return Err(error.context(format!(
                    "no server for {OUTAGE_TIME_MAX:?}; the stream ended at revision {}",
                    self.at()
                )));
            }
            let why = format!("{error:#}");
            if told.as_ref() != Some(&why) {
                eprintln!("kontiki tail: {why}; going on from revision {}", self.at());
                told = Some(why);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn at(&self) -> u64 {
        self.seen.unwrap_or_default()
    }

    async fn follow(&mut self, client: &Client) -> Ended {
        let from = match (self.seen, &self.from) {
            (Some(seen), _) => format!("from={seen}&"),
            (None, Some(from)) => format!("from={}&", encode(from)),
            (None, None) => String::new(),
        };
        let path = format!("/apis/kontiki.dev/v1/events?{from}{}", self.query);
        let response = match client.send(Method::GET, &path, &[], Payload::Nothing).await {
            Ok(response) => response,
            Err(error) => {
                let again =
                    error.downcast_ref::<Refused>().is_none_or(|refused| refused.code == 429 || refused.code >= 500);
                return if again { Ended::Broken(error) } else { Ended::Final(error) };
            }
        };
        let (mut body, began) = (response.into_body(), Instant::now());
        let mut pending = BytesMut::new();
        loop {
            match chunk(&mut body, &mut pending).await {
                Ok(true) => {}
                Ok(false) if began.elapsed() > SILENCE_MAX => return Ended::Over,
                Ok(false) => return Ended::Broken(anyhow!("the server ended the stream")),
                Err(error) => return Ended::Broken(error),
            }
            if let Err(ended) = self.lines(&mut pending, &mut io::stdout().lock()) {
                return ended;
            }
        }
    }

    /// Writes every whole line that has come.
    fn lines(&mut self, pending: &mut BytesMut, out: &mut impl Write) -> Result<(), Ended> {
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line = pending.split_to(end);
            pending.advance(1);
            let line: Value = serde_json::from_slice(&line).map_err(|error| Ended::Broken(error.into()))?;
            match show::text(&line, "/type") {
                "Begin" => {
                    self.cluster = show::text(&line, "/cluster").to_owned();
                    self.seen = self.seen.max(line["from"].as_u64());
                }
                "Progress" => {
                    self.heard = true;
                    self.seen = self.seen.max(line["revision"].as_u64());
                }
                "Error" => {
                    let message = show::text(&line, "/status/message").to_owned();
                    let gone = line["status"]["code"] == 410;
                    return Err(if gone { Ended::Final(anyhow!(message)) } else { Ended::Broken(anyhow!(message)) });
                }
                _ if line["revision"].as_u64() > self.seen => {
                    writeln!(out, "{}", self.shown(&line)).map_err(|error| Ended::Final(error.into()))?;
                    self.heard = true;
                    self.seen = line["revision"].as_u64();
                }
                _ => {}
            }
        }
        out.flush().map_err(|error| Ended::Final(error.into()))
    }

    fn shown(&self, event: &Value) -> String {
        match self.form {
            TailForm::Json => event.to_string(),
            TailForm::Cloudevents => cloud_event(event, &self.cluster).to_string(),
            TailForm::Text => text(event),
        }
    }
}

/// Reads on; false at the end of the stream.
pub(super) async fn chunk(body: &mut Incoming, pending: &mut BytesMut) -> Result<bool> {
    let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
    let Some(frame) = frame.with_context(|| format!("the server was silent for {SILENCE_MAX:?}"))? else {
        return Ok(false);
    };
    if let Ok(data) = frame.context("the connection broke")?.into_data() {
        pending.extend_from_slice(&data);
    }
    if pending.len() > LINE_BYTES_MAX {
        bail!("the server sent a line of more than {LINE_BYTES_MAX} bytes");
    }
    Ok(true)
}

fn text(event: &Value) -> String {
    let cause = event["cause"].as_u64().map(|cause| format!(" ← {cause}")).unwrap_or_default();
    format!(
        "{} {} {} {} by {}{cause}",
        event["revision"],
        show::text(event, "/time"),
        show::text(event, "/type").to_lowercase(),
        show::object(event),
        show::author(event),
    )
}

/// As CloudEvents 1.0 wants it. `source` and `id` are the same from whichever server an event comes; `sequence` sorts as
/// text does.
fn cloud_event(event: &Value, cluster: &str) -> Value {
    let revision = event["revision"].as_u64().unwrap_or_default();
    let author = &event["author"];
    let resource = &event["resource"];
    let subject = match show::text(resource, "/path") {
        "" => format!("{}/{}", show::text(resource, "/resource"), show::text(resource, "/name")),
        path => path.to_owned(),
    };
    let mut out = json!({
        "specversion": "1.0",
        "id": revision.to_string(),
        "source": format!("urn:uuid:{cluster}"),
        "type": format!("dev.kontiki.{}", show::text(event, "/type").to_lowercase()),
        "subject": subject,
        "time": event["time"],
        "datacontenttype": "application/json",
        "sequence": format!("{revision:020}"),
        "user": author["user"],
        "useragent": author["userAgent"],
        "verb": author["verb"],
        "requestid": author["requestId"],
    });
    // An attribute is a string, or absent: an empty one is not allowed.
    let more = [
        ("subresource", author["subresource"].as_str().map(str::to_owned)),
        ("impersonator", author["impersonator"].as_str().map(str::to_owned)),
        ("cause", event["cause"].as_u64().map(|cause| cause.to_string())),
        ("previousrevision", event["previousRevision"].as_u64().map(|revision| revision.to_string())),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            out[name] = value.into();
        }
    }
    if let Some(attributes) = out.as_object_mut() {
        attributes.retain(|_, value| value.as_str() != Some(""));
    }
    out["data"] = json!({"object": event["object"], "previous": event["previous"]});
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_event_is_written_once_however_its_lines_arrive() {
        let mut stream = Stream {
            query: String::new(),
            from: None,
            seen: None,
            heard: false,
            cluster: String::new(),
            form: TailForm::Json,
        };
        let mut written = Vec::new();
        let mut pending = BytesMut::new();
        let mut told = |stream: &mut Stream, text: &str| {
            for part in text.as_bytes().chunks(5) {
                pending.extend_from_slice(part);
                stream.lines(&mut pending, &mut written).map_err(|_| ())?;
            }
            Ok::<u64, ()>(stream.at())
        };
        let begin = r#"{"type":"Begin","from":7,"cluster":"c"}"#;
        let (eight, nine) = (r#"{"type":"Created","revision":8}"#, r#"{"type":"Updated","revision":9}"#);
        assert_eq!(told(&mut stream, &format!("{begin}\n{eight}\n")), Ok(8));
        // Another server goes on, and repeats what was seen.
        assert_eq!(told(&mut stream, &format!("{begin}\n{eight}\n{nine}\n")), Ok(9));
        stream.heard = false;
        assert_eq!(told(&mut stream, "{\"type\":\"Progress\",\"revision\":12}\n"), Ok(12));
        assert!(stream.heard, "a server that has nothing new to tell is no outage");
        assert_eq!(told(&mut stream, "{\"type\":\"Error\",\"status\":{\"code\":410}}\n"), Err(()));
        assert_eq!(String::from_utf8(written).unwrap(), format!("{eight}\n{nine}\n"));
    }

    #[test]
    fn an_event_is_a_cloud_event() {
        let event = json!({
            "revision": 42, "time": "2026-11-21T11:00:00.000Z", "type": "Updated",
            "resource": {"resource": "pods", "namespace": "a", "name": "p", "path": "/api/v1/namespaces/a/pods/p"},
            "author": {"user": "alice", "userAgent": "", "verb": "patch", "requestId": "r"},
            "cause": 41, "previousRevision": 40, "index": 7, "object": {"kind": "Pod"}, "previous": {"kind": "Pod"},
        });
        expect_test::expect![[r#"
            {
              "specversion": "1.0",
              "id": "42",
              "source": "urn:uuid:c",
              "type": "dev.kontiki.updated",
              "subject": "/api/v1/namespaces/a/pods/p",
              "time": "2026-11-21T11:00:00.000Z",
              "datacontenttype": "application/json",
              "sequence": "00000000000000000042",
              "user": "alice",
              "verb": "patch",
              "requestid": "r",
              "cause": "41",
              "previousrevision": "40",
              "data": {
                "object": {
                  "kind": "Pod"
                },
                "previous": {
                  "kind": "Pod"
                }
              }
            }"#]]
        .assert_eq(&format!("{:#}", cloud_event(&event, "c")));
        assert_eq!(text(&event), "42 2026-11-21T11:00:00.000Z updated pods/p -n a by alice ← 41");
    }
}
