//! A stand-in for the Kubernetes API server: pods of one namespace, lists by pages, watches from a
//! version on. It speaks HTTP/1.1 with connections that end with the answer, and can be in any
//! mood.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should.
    Fair,
    /// With this status, whatever is asked.
    Refusing(u16),
    /// It lists, but does not let anybody watch.
    Unwatchable,
    /// Not at all.
    Mute,
    /// With bytes that are no JSON.
    Babbling,
    /// With pages that always have a next one.
    Endless,
}

/// The server. Its clients lose it when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Shared>,
    open: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Its value is the version, or higher: it wakes the watches.
    changed: watch::Sender<u64>,
}

struct State {
    mood: Mood,
    pods: BTreeMap<String, Value>,
    events: Vec<(u64, Value)>,
    version: u64,
    /// Who knows less than this must list anew.
    oldest: u64,
    requests: Vec<String>,
    connections: Vec<JoinHandle<()>>,
}

impl Server {
    /// Opens it on a port of its own.
    pub(crate) async fn start() -> Self {
        let state = State {
            mood: Mood::Fair,
            pods: BTreeMap::new(),
            events: Vec::new(),
            version: 1,
            oldest: 0,
            requests: Vec::new(),
            connections: Vec::new(),
        };
        let state = Arc::new(Shared {
            state: Mutex::new(state),
            changed: watch::Sender::default(),
        });
        let mut server = Self {
            address: ([127, 0, 0, 1], 0).into(),
            state,
            open: None,
        };
        server.open().await;
        server
    }

    /// How a client reaches it, in a pod of the namespace `mesh`.
    pub(crate) fn config(&self) -> kube::Config {
        let url = format!("http://{}", self.address).parse().unwrap();
        let mut config = kube::Config::new(url);
        config.default_namespace = "mesh".to_owned();
        config
    }

    /// Listens, again at the same address.
    pub(crate) async fn open(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let shared = Arc::clone(&self.state);
        self.open = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = Arc::clone(&shared);
                let connection = tokio::spawn(async move {
                    // Whoever hangs up does not want the rest.
                    let _ = serving.serve(stream).await;
                });
                shared.lock().connections.push(connection);
            }
        }));
    }

    /// Refuses all connections, and ends those that there are.
    pub(crate) async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.abort();
            // The listener is closed once the task has ended, which is an error as it was aborted.
            let _ = open.await;
        }
        self.hang_up();
    }

    /// Ends all connections.
    pub(crate) fn hang_up(&self) {
        self.state
            .lock()
            .connections
            .drain(..)
            .for_each(|connection| connection.abort());
    }

    /// From now on.
    pub(crate) fn mood(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    /// A pod is there, or is different now.
    pub(crate) fn put(&self, mut pod: Value) {
        let mut state = self.state.lock();
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if state.pods.contains_key(&name) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        pod["metadata"]["resourceVersion"] = json!((state.version + 1).to_string());
        state.pods.insert(name, pod.clone());
        self.note(state, kind, &pod);
    }

    /// A pod is gone.
    pub(crate) fn delete(&self, name: &str) {
        let mut state = self.state.lock();
        let mut pod = state.pods.remove(name).unwrap();
        pod["metadata"]["resourceVersion"] = json!((state.version + 1).to_string());
        self.note(state, "DELETED", &pod);
    }

    fn note(&self, mut state: MutexGuard<'_, State>, kind: &str, pod: &Value) {
        state.version += 1;
        let version = state.version;
        state
            .events
            .push((version, json!({ "type": kind, "object": pod })));
        drop(state);
        self.state.changed.send_replace(version);
    }

    /// Forgets what happened so far, as a server does after some minutes.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.version += 1;
        state.oldest = state.version;
    }

    /// The paths that were asked for, in their order.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.open.iter().for_each(JoinHandle::abort);
        self.hang_up();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_until(b'\n', &mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let mut stream = stream.into_inner();
        let (mood, is_watch) = (self.lock().mood, path.contains("watch=true"));
        self.lock().requests.push(path.clone());
        match mood {
            Mood::Mute => std::future::pending().await,
            Mood::Babbling => answer(&mut stream, 200, "<html>").await,
            Mood::Refusing(code) => refuse(&mut stream, code).await,
            Mood::Unwatchable if is_watch => refuse(&mut stream, 403).await,
            _ if is_watch => self.watch(&mut stream, &path).await,
            _ => {
                let list = self.list(&path, mood == Mood::Endless).to_string();
                answer(&mut stream, 200, &list).await
            }
        }
    }

    fn list(&self, path: &str, endless: bool) -> Value {
        let state = self.lock();
        let limit = parameter(path, "limit").unwrap().parse().unwrap();
        let from = parameter(path, "continue").map_or(0, |token| token.parse().unwrap());
        let items: Vec<_> = state
            .pods
            .values()
            .skip(from)
            .take(limit)
            .cloned()
            .collect();
        let next = (endless || from + limit < state.pods.len()).then(|| (from + limit).to_string());
        json!({
            "kind": "PodList", "apiVersion": "v1", "items": items,
            "metadata": { "resourceVersion": state.version.to_string(), "continue": next },
        })
    }

    fn events_after(&self, known: u64) -> Vec<(u64, Value)> {
        let state = self.lock();
        state
            .events
            .iter()
            .filter(|(version, _)| *version > known)
            .cloned()
            .collect()
    }

    async fn watch(&self, stream: &mut TcpStream, path: &str) -> io::Result<()> {
        let mut known: u64 = parameter(path, "resourceVersion").unwrap().parse().unwrap();
        if known < self.lock().oldest {
            return refuse(stream, 410).await;
        }
        let mut changed = self.changed.subscribe();
        answer(stream, 200, "").await?;
        loop {
            changed.borrow_and_update();
            let news = self.events_after(known);
            for (version, event) in news {
                stream.write_all(format!("{event}\n").as_bytes()).await?;
                known = version;
            }
            if changed.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}

/// The value of a parameter in the query of `path`.
fn parameter<'a>(path: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = path
        .split(['?', '&'])
        .filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

async fn refuse(stream: &mut TcpStream, code: u16) -> io::Result<()> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": "Because", "message": "pods is not for you",
    });
    answer(stream, code, &status.to_string()).await
}

/// The body ends with the connection.
async fn answer(stream: &mut TcpStream, code: u16, body: &str) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 {code} X\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await
}
