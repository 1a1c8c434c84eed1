//! `update`: other limits for a container that is there.

use std::io::Read;
use std::path::Path;

use minibox_runtime::container::Container;
use minibox_runtime::{Error, Result};
use oci_spec::runtime::LinuxResources;
use serde_json::json;

use super::args::UpdateArgs;
use crate::wishes::parse_size;

/// `minibox-oci update`.
pub(super) fn update(root: &Path, args: &UpdateArgs) -> Result<u8> {
    let resources = match &args.resources {
        Some(path) => read(path)?,
        None => from_options(args)?,
    };
    let (mut container, _lock) = Container::lock(root, &args.id)?;
    container.update(resources).map(|()| 0)
}

fn read(path: &Path) -> Result<LinuxResources> {
    let mut text = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.map_err(|error| Error::of_io("read", path, &error))?;
    serde_json::from_slice(&text)
        .map_err(|error| Error::new(format!("--resources {}: {error}", path.display())))
}

fn from_options(args: &UpdateArgs) -> Result<LinuxResources> {
    if args.l3_cache_schema.is_some() || args.mem_bw_schema.is_some() {
        return Err(Error::new("--l3-cache-schema, --mem-bw-schema: Intel RDT is not supported"));
    }
    let bytes = |flag: &str, text: &Option<String>| match text.as_deref() {
        Some("-1") => Ok(Some(-1)),
        Some(text) => parse_size(flag, text).map(Some),
        None => Ok(None),
    };
    let document = json!({
        "memory": {
            "limit": bytes("--memory", &args.memory)?,
            "swap": bytes("--memory-swap", &args.memory_swap)?,
            "reservation": bytes("--memory-reservation", &args.memory_reservation)?,
        },
        "cpu": {
            "shares": args.cpu_share,
            "quota": args.cpu_quota,
            "burst": args.cpu_burst,
            "period": args.cpu_period,
            "realtimeRuntime": args.cpu_rt_runtime,
            "realtimePeriod": args.cpu_rt_period,
            "cpus": args.cpuset_cpus,
            "mems": args.cpuset_mems,
            "idle": args.cpu_idle,
        },
        "blockIO": { "weight": args.blkio_weight },
        "pids": args.pids_limit.map(|limit| json!({ "limit": limit })),
    });
    serde_json::from_value(document)
        .map_err(|error| Error::new(format!("cannot read the limits: {error}")))
}
