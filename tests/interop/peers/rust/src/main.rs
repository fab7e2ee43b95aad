//! A rust-libp2p host that plays relay, listener or dialer in the interop matrix;
//! peers/README.md defines its command line and the JSON lines it prints.

mod exchange;

use std::{collections::HashMap, error::Error, net::IpAddr, process::ExitCode, time::Duration};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, identify, mdns,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle},
    tcp, yamux,
};
use libp2p_stream as stream;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

pub type Failure = Box<dyn Error + Send + Sync>;

const PATIENCE: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(3600);

#[derive(NetworkBehaviour)]
struct Behaviour {
    client: relay::client::Behaviour,
    relay: Toggle<relay::Behaviour>,
    identify: identify::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    ping: ping::Behaviour,
    stream: stream::Behaviour,
}

pub fn emit(event: &str, fields: Value) {
    let mut line = json!({ "event": event });
    for (key, value) in fields.as_object().into_iter().flatten() {
        line[key] = value.clone();
    }
    println!("{line}");
}

fn unlimited() -> relay::Config {
    relay::Config {
        max_reservations: 4096,
        max_reservations_per_peer: 4096,
        reservation_rate_limiters: Vec::new(),
        max_circuits: 4096,
        max_circuits_per_peer: 4096,
        max_circuit_duration: Duration::from_secs(u64::from(u32::MAX)),
        max_circuit_bytes: 0,
        circuit_src_rate_limiters: Vec::new(),
        ..relay::Config::default()
    }
}

fn build(relaying: bool, meeting: bool) -> Result<Swarm<Behaviour>, Failure> {
    Ok(SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, client| {
            let id = key.public().to_peer_id();
            Ok(Behaviour {
                client,
                relay: relaying
                    .then(|| relay::Behaviour::new(id, unlimited()))
                    .into(),
                identify: identify::Behaviour::new(identify::Config::new(
                    "towpath-test/1.0.0".into(),
                    key.public(),
                )),
                mdns: meeting
                    .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), id))
                    .transpose()?
                    .into(),
                ping: ping::Behaviour::default(),
                stream: stream::Behaviour::new(),
            })
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build())
}

/// Listens on an IP address and answers the bound address.
async fn listen(swarm: &mut Swarm<Behaviour>, ip: &str) -> Result<Multiaddr, Failure> {
    let address = Multiaddr::from(ip.parse::<IpAddr>()?).with(Protocol::Tcp(0));
    swarm.listen_on(address)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return Ok(address);
        }
    }
}

fn announce(swarm: &Swarm<Behaviour>, address: Option<&Multiaddr>) {
    let id = *swarm.local_peer_id();
    let addrs: Vec<String> = address
        .into_iter()
        .map(|address| address.clone().with(Protocol::P2p(id)).to_string())
        .collect();
    emit(
        "ready",
        json!({ "peer_id": id.to_string(), "addrs": addrs }),
    );
}

/// Drives the swarm until standard input closes, which is how the test ends a peer.
async fn until_stdin_closes(swarm: &mut Swarm<Behaviour>) -> Result<(), Failure> {
    let mut stdin = tokio::io::stdin();
    let mut sink = [0; 64];
    loop {
        tokio::select! {
            read = stdin.read(&mut sink) => if read? == 0 { return Ok(()) },
            event = swarm.select_next_some() => tell_of_neighbours(event),
        }
    }
}

/// Tells of every peer that the local network announces (`--mdns`).
fn tell_of_neighbours(event: SwarmEvent<BehaviourEvent>) {
    if let SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(list))) = event {
        for (id, address) in list {
            emit(
                "found",
                json!({ "peer_id": id.to_string(), "addrs": [address.to_string()] }),
            );
        }
    }
}

async fn reserve(swarm: &mut Swarm<Behaviour>, relay: Multiaddr) -> Result<(), Failure> {
    let listener = swarm.listen_on(relay.with(Protocol::P2pCircuit))?;
    let mut accepted = None;
    let mut addrs: Vec<String> = Vec::new();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Client(
                relay::client::Event::ReservationReqAccepted {
                    relay_peer_id,
                    limit,
                    ..
                },
            )) => accepted = Some((relay_peer_id, limit.is_some())),
            SwarmEvent::NewListenAddr { address, .. } => addrs.push(address.to_string()),
            SwarmEvent::ListenerClosed {
                listener_id,
                reason,
                ..
            } if listener_id == listener => {
                return Err(format!("the reservation failed: {reason:?}").into());
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            _ => {}
        }
        if let (Some((relay, limit)), false) = (&accepted, addrs.is_empty()) {
            let relay = relay.to_string();
            emit(
                "reserved",
                json!({ "relay": relay, "addrs": addrs, "limit": limit }),
            );
            return Ok(());
        }
    }
}

fn last_peer(address: &Multiaddr) -> Result<PeerId, Failure> {
    match address.iter().last() {
        Some(Protocol::P2p(id)) => Ok(id),
        _ => Err(format!("{address} names no peer").into()),
    }
}

async fn dial(swarm: &mut Swarm<Behaviour>, target: &Multiaddr) -> Result<PeerId, Failure> {
    let id = last_peer(target)?;
    let mut limited = false;
    swarm.dial(target.clone())?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Client(
                relay::client::Event::OutboundCircuitEstablished { limit, .. },
            )) => limited = limit.is_some(),
            SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == id => {
                emit("connected", json!({ "limited": limited }));
                return Ok(id);
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
}

async fn run(role: &str, options: &HashMap<String, String>) -> Result<(), Failure> {
    let option = |name: &str| options.get(name).map(String::as_str).unwrap_or_default();
    let mut swarm = build(role == "relay", options.contains_key("mdns"))?;
    let mut control = swarm.behaviour().stream.new_control();
    if role == "listener" {
        exchange::serve(&mut control)?;
    }
    let address = match option("listen") {
        "" => None,
        ip => Some(listen(&mut swarm, ip).await?),
    };
    match role {
        "relay" => {
            if let Some(address) = address.clone() {
                swarm.add_external_address(address);
            }
            announce(&swarm, address.as_ref());
            until_stdin_closes(&mut swarm).await
        }
        "listener" => {
            announce(&swarm, address.as_ref());
            if let Some(relay) = options.get("relay") {
                tokio::time::timeout(PATIENCE, reserve(&mut swarm, relay.parse()?)).await??;
            }
            until_stdin_closes(&mut swarm).await
        }
        "dialer" => {
            announce(&swarm, address.as_ref());
            let target = option("target").parse()?;
            let id = tokio::time::timeout(PATIENCE, dial(&mut swarm, &target)).await??;
            let size = options.get("bytes").map_or(Ok(16 << 20), |n| n.parse())?;
            let exchanges = exchange::dial(&mut control, id, option("seed"), size);
            tokio::select! {
                done = tokio::time::timeout(PATIENCE, exchanges) => done??,
                _ = async { loop { swarm.select_next_some().await; } } => unreachable!(),
            }
            // What was sent last may still be on its way.
            until_stdin_closes(&mut swarm).await
        }
        other => Err(format!("unknown role {other:?}").into()),
    }
}

/// Reads `--name value` pairs, and `--mdns`; `--allow-limited` is accepted and needs nothing, because
/// rust-libp2p treats limited connections like any other.
fn parse(mut args: impl Iterator<Item = String>) -> Result<HashMap<String, String>, Failure> {
    let mut options = HashMap::new();
    while let Some(arg) = args.next() {
        let name = arg
            .strip_prefix("--")
            .ok_or_else(|| format!("unexpected argument {arg:?}"))?;
        if name == "mdns" {
            options.insert(name.to_owned(), String::new());
        } else if name != "allow-limited" {
            let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            options.insert(name.to_owned(), value);
        }
    }
    Ok(options)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let role = args.next().unwrap_or_default();
    let result = match parse(args) {
        Ok(options) => run(&role, &options).await,
        Err(error) => Err(error),
    };
    if let Err(error) = result {
        emit("error", json!({ "message": error.to_string() }));
        // Standard input is read on a thread that nothing can interrupt.
        std::process::exit(1);
    }
    ExitCode::SUCCESS
}
