//! A real Apache Kafka for the tests: one broker in KRaft mode, or three that keep each other's
//! topics, with a small heap, on free ports of the loopback interface and in a folder of their own.
//! Each can be killed, paused and started again on the same data; they end with their handle, and
//! no other process is touched.
//!
//! The jars come from `tests/kafka/fetch`, which `tests/run` calls. Without `HOLDOVER_SERVERS` in
//! the environment there is no broker and the tests that need one are left out, so that a plain
//! `cargo test` needs no server; with it, a missing jar is a failure.

use crate::rig::signal;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that brokers may take to answer; on a busy machine the JVM takes its time.
const START_MAX: Duration = Duration::from_secs(90);

/// So that brokers take over from one another within seconds. One that is alone and starved by the
/// tests beside it must not be taken for lost.
const FAIL_OVER: &str = "broker.session.timeout.ms=5000\n\
    broker.heartbeat.interval.ms=500\n\
    replica.lag.time.max.ms=5000\n";

/// One broker that runs, or has been killed and can run again.
struct Node {
    folder: PathBuf,
    port: u16,
    child: Child,
}

/// One broker, or three.
pub(crate) struct Broker {
    jars: PathBuf,
    nodes: Vec<Node>,
    /// Goes with its handle.
    _folder: tempfile::TempDir,
}

/// Ports that nobody had a moment ago.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let listeners: Vec<TcpListener> = (0..count).map(bind).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

impl Broker {
    /// Starts a broker, if servers are wanted.
    pub(crate) fn start() -> Option<Self> {
        Self::of(1)
    }

    /// Starts three brokers, if servers are wanted. Topics are kept by all of them, and what two have
    /// is confirmed.
    pub(crate) fn three() -> Option<Self> {
        Self::of(3)
    }

    #[expect(clippy::print_stderr, reason = "whoever runs the tests must see what is left out")]
    fn of(count: usize) -> Option<Self> {
        if std::env::var_os("HOLDOVER_SERVERS").is_none() {
            eprintln!("left out: a real Kafka (tests/run brings one)");
            return None;
        }
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kafka/jars");
        assert!(jars.is_dir(), "no Kafka in {}: run tests/kafka/fetch", jars.display());
        let folder = tempfile::tempdir().unwrap();
        let ports = free_ports(2 * count);
        let (clients, controllers) = ports.split_at(count);
        let voters: Vec<String> = (1..)
            .zip(controllers)
            .map(|(id, controller)| format!("{id}@127.0.0.1:{controller}"))
            .collect();
        let mut nodes = Vec::new();
        for (id, (&port, controller)) in (1..).zip(clients.iter().zip(controllers)) {
            let own = folder.path().join(id.to_string());
            std::fs::create_dir(&own).unwrap();
            let settings = format!(
                "process.roles=broker,controller\n\
                 node.id={id}\n\
                 controller.quorum.voters={}\n\
                 controller.listener.names=CONTROLLER\n\
                 listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
                 advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
                 log.dirs={}\n\
                 auto.create.topics.enable=false\n\
                 offsets.topic.num.partitions=1\n\
                 offsets.topic.replication.factor={count}\n\
                 transaction.state.log.replication.factor=1\n\
                 transaction.state.log.min.isr=1\n\
                 group.initial.rebalance.delay.ms=0\n\
                 {}",
                voters.join(","),
                own.join("data").display(),
                if count > 1 { FAIL_OVER } else { "" }
            );
            let file = own.join("server.properties");
            std::fs::write(&file, settings).unwrap();
            let mut format = java(&jars, "kafka.tools.StorageTool");
            let cluster = "aG9sZG92ZXItdGVzdHMtMQ";
            format.args(["format", "--cluster-id", cluster, "--config"]).arg(&file);
            let formatted = format.output().expect("java cannot be started");
            assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
            let child = spawn(&jars, &own);
            nodes.push(Node { folder: own, port, child });
        }
        let mut broker = Self { jars, nodes, _folder: folder };
        broker.wait();
        Some(broker)
    }

    /// `host:port` of each, separated by commas.
    pub(crate) fn address(&self) -> String {
        let each: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        each.join(",")
    }

    /// A client's settings, with the address.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        config
    }

    /// Makes topics of so many partitions each, kept by every broker.
    pub(crate) fn topics(&self, names: &[&str], partitions: i32) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let count = self.nodes.len() as i32;
        let in_sync = self.nodes.len().div_ceil(2).to_string();
        let topics: Vec<_> = names
            .iter()
            .map(|name| {
                let replicas = TopicReplication::Fixed(count);
                NewTopic::new(name, partitions, replicas).set("min.insync.replicas", &in_sync)
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        let made = runtime.block_on(admin.create_topics(&topics, &options)).unwrap();
        for topic in made {
            topic.unwrap();
        }
    }

    /// Removes topics, with all that stands in them.
    pub(crate) fn remove_topics(&self, names: &[&str]) {
        let admin: AdminClient<DefaultClientContext> = self.client().create().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        for removed in runtime.block_on(admin.delete_topics(names, &options)).unwrap() {
            removed.unwrap();
        }
        let consumer: BaseConsumer = self.client().create().unwrap();
        let gone = || {
            let seen = consumer.fetch_metadata(None, Duration::from_secs(10)).unwrap();
            !seen.topics().iter().any(|topic| names.contains(&topic.name()))
        };
        let began = Instant::now();
        while !gone() {
            assert!(began.elapsed() < START_MAX, "the topics stay");
        }
    }

    /// Ends the first one at once, as a power cut would.
    pub(crate) fn kill(&mut self) {
        let child = &mut self.nodes[0].child;
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts the first one again on what it left behind, and waits until all answer.
    pub(crate) fn start_again(&mut self) {
        self.nodes[0].child = spawn(&self.jars, &self.nodes[0].folder);
        self.wait();
    }

    /// Has the last one stand still, as a machine that swaps does: its connections stay.
    pub(crate) fn pause(&self) {
        signal(self.nodes.last().unwrap().child.id(), "-STOP");
    }

    /// Has the last one go on.
    pub(crate) fn go_on(&self) {
        signal(self.nodes.last().unwrap().child.id(), "-CONT");
    }

    /// Waits until every replica of a topic has what the others have.
    pub(crate) fn in_sync(&self, topic: &str) {
        let began = Instant::now();
        let consumer: BaseConsumer = self.client().create().unwrap();
        loop {
            let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(1));
            let in_sync = metadata.is_ok_and(|metadata| {
                let mut partitions = metadata.topics().iter().flat_map(|t| t.partitions());
                partitions.all(|partition| partition.isr().len() == self.nodes.len())
            });
            if in_sync {
                return;
            }
            assert!(began.elapsed() < START_MAX, "{topic} is not in sync");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn wait(&mut self) {
        let began = Instant::now();
        let consumer: BaseConsumer = self.client().create().unwrap();
        let all = self.nodes.len();
        let answers = || consumer.fetch_metadata(None, Duration::from_secs(1));
        while !answers().is_ok_and(|metadata| metadata.brokers().len() == all) {
            for node in &mut self.nodes {
                let log = node.folder.join("broker.log");
                let said = || std::fs::read_to_string(&log).unwrap_or_default();
                let ended = node.child.try_wait().unwrap();
                assert!(ended.is_none(), "the broker ended with {ended:?}: {}", said());
                assert!(began.elapsed() < START_MAX, "the broker does not answer: {}", said());
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            drop(node.child.kill());
            drop(node.child.wait());
        }
    }
}

fn java(jars: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(jars.join("*")).arg(class).stdin(Stdio::null());
    command
}

fn spawn(jars: &Path, folder: &Path) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("broker.log")).unwrap();
    let mut command = java(jars, "kafka.Kafka");
    command.arg(folder.join("server.properties"));
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.spawn().expect("java cannot be started")
}
