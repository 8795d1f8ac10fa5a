//! Real object stores: MinIO and SeaweedFS, each over a fresh folder with one empty bucket.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::http;
use crate::parts::part;
use crate::process::{Child, free_ports, wait_until};

/// Credentials that both stores know.
pub const ACCESS_KEY: &str = "firn-access";
/// The secret that belongs to [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "firn-secret-key";
/// The bucket that is there, empty, when a store has started.
pub const BUCKET: &str = "firn-test";
/// Both stores take any region; clients must name one.
pub const REGION: &str = "us-east-1";

/// Which program serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// The part `minio`.
    Minio,
    /// The part `seaweedfs`.
    SeaweedFs,
}

/// An S3 server of its own, which ends with the test. Its folder outlives it.
#[derive(Debug)]
pub struct ObjectStore {
    kind: StoreKind,
    program: PathBuf,
    dir: PathBuf,
    ports: Vec<u16>,
    child: Child,
}

/// SeaweedFS is four servers with two ports each: master, volume, filer, S3.
const SEAWEEDFS_PORTS: usize = 8;
/// Where in [`ObjectStore::ports`] SeaweedFS's master listens.
const MASTER: usize = 0;
/// Where in [`ObjectStore::ports`] SeaweedFS's filer listens.
const FILER: usize = 4;
/// Where in [`ObjectStore::ports`] SeaweedFS's S3 listens.
const SEAWEEDFS_S3: usize = 6;

impl ObjectStore {
    /// Starts the store over a folder in `dir` and waits until it serves; `None` where the part is not installed.
    /// An error holds what it printed.
    pub fn start(kind: StoreKind, dir: &Path) -> Result<Option<ObjectStore>, String> {
        let (program, folder, n_ports) = match kind {
            StoreKind::Minio => ("bin/minio", "minio", 1),
            StoreKind::SeaweedFs => ("bin/weed", "seaweedfs", SEAWEEDFS_PORTS),
        };
        let Some(program) = part(program) else { return Ok(None) };
        let dir = dir.join(folder);
        let ports = free_ports(n_ports);
        let child = serve(kind, &program, &dir, &ports).map_err(|e| format!("start {kind:?}: {e}"))?;
        let mut store = ObjectStore { kind, program, dir, ports, child };
        store.await_ready()?;
        store.await_volumes()?;
        store.make_bucket()?;
        Ok(Some(store))
    }

    /// `http://127.0.0.1:<port>`, the endpoint for path-style requests.
    pub fn endpoint(&self) -> String {
        let port = match self.kind {
            StoreKind::Minio => self.ports[0],
            StoreKind::SeaweedFs => self.ports[SEAWEEDFS_S3],
        };
        format!("http://127.0.0.1:{port}")
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Kills the server; its objects stay.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Starts the server again at the same address over the same objects.
    pub fn restart(&mut self) -> Result<(), String> {
        self.child.kill();
        let child = serve(self.kind, &self.program, &self.dir, &self.ports);
        self.child = child.map_err(|e| format!("start {:?} again: {e}", self.kind))?;
        self.await_ready()?;
        self.await_volumes()
    }

    fn await_ready(&mut self) -> Result<(), String> {
        let path = match self.kind {
            StoreKind::Minio => "/minio/health/ready",
            StoreKind::SeaweedFs => "/healthz",
        };
        let url = format!("{}{path}", self.endpoint());
        let ready = wait_until(Duration::from_secs(60), || {
            let serves = http::get(&url, &[]).is_ok_and(|answer| answer.status == 200);
            (serves || !self.child.is_running()).then_some(serves)
        });
        match ready {
            Some(true) => Ok(()),
            _ => Err(format!("{:?} is not ready:\n{}", self.kind, self.child.output())),
        }
    }

    /// MinIO takes a folder for a bucket, so it was made before the start.
    fn make_bucket(&self) -> Result<(), String> {
        if self.kind != StoreKind::SeaweedFs {
            return Ok(());
        }
        let url = format!("http://127.0.0.1:{}/buckets/{BUCKET}/", self.ports[FILER]);
        let made = wait_until(Duration::from_secs(30), || {
            http::post(&url, &[], &[]).is_ok_and(|answer| answer.status == 201).then_some(())
        });
        made.ok_or_else(|| format!("SeaweedFS makes no bucket:\n{}", self.child.output()))
    }

    /// SeaweedFS's volumes may join after it has begun to answer, and nothing is stored before.
    fn await_volumes(&self) -> Result<(), String> {
        if self.kind != StoreKind::SeaweedFs {
            return Ok(());
        }
        let url = format!("http://127.0.0.1:{}/dir/status", self.ports[MASTER]);
        let joined = wait_until(Duration::from_secs(30), || {
            let max = http::get_json(&url, &[]).ok()?["Topology"]["Max"].as_u64()?;
            (max > 0).then_some(())
        });
        joined.ok_or_else(|| format!("SeaweedFS has no volumes:\n{}", self.child.output()))
    }
}

fn serve(kind: StoreKind, program: &Path, dir: &Path, ports: &[u16]) -> std::io::Result<Child> {
    let data = dir.join("data");
    fs::create_dir_all(&data)?;
    let mut command = Command::new(program);
    command.current_dir(dir);
    match kind {
        StoreKind::Minio => {
            fs::create_dir_all(data.join(BUCKET))?;
            minio(&mut command, &data, ports[0]);
        }
        StoreKind::SeaweedFs => seaweedfs(&mut command, dir, &data, ports)?,
    }
    Child::start("server", command, dir)
}

fn minio(command: &mut Command, data: &Path, port: u16) {
    command
        .args(["server", "--quiet", "--address", &format!("127.0.0.1:{port}")])
        .args(["--console-address", "127.0.0.1:0"])
        .arg(data)
        .envs([("MINIO_ROOT_USER", ACCESS_KEY), ("MINIO_ROOT_PASSWORD", SECRET_KEY)])
        .envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off"), ("MINIO_CI_CD", "1")]);
}

fn seaweedfs(command: &mut Command, dir: &Path, data: &Path, ports: &[u16]) -> std::io::Result<()> {
    let identities = dir.join("s3.json");
    let actions = "[\"Admin\",\"Read\",\"Write\",\"List\",\"Tagging\"]";
    fs::write(
        &identities,
        format!(
            "{{\"identities\":[{{\"name\":\"firn\",\"actions\":{actions},\"credentials\":\
             [{{\"accessKey\":\"{ACCESS_KEY}\",\"secretKey\":\"{SECRET_KEY}\"}}]}}]}}"
        ),
    )?;
    command
        .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"])
        .arg(format!("-dir={}", data.display()))
        .arg(format!("-s3.config={}", identities.display()))
        // Small volumes and enough of them: each bucket takes seven at once.
        .args(["-master.volumeSizeLimitMB=64", "-volume.max=100", "-volume.preStopSeconds=0"])
        .args(["-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]);
    let flags = ["master", "volume", "filer", "s3"]
        .map(|server| [format!("{server}.port"), format!("{server}.port.grpc")]);
    for (flag, port) in flags.iter().flatten().zip(ports) {
        command.arg(format!("-{flag}={port}"));
    }
    Ok(())
}
