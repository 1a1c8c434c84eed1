//! `minibox version`.

use minibox_runtime::Result;
use serde_json::json;

use crate::args::VersionArgs;
use crate::config::SPEC_VERSION;
use crate::format::Format;
use crate::output;

/// Of minibox.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What it was built from.
pub(crate) fn commit() -> &'static str {
    option_env!("MINIBOX_COMMIT").unwrap_or("unknown")
}

/// Prints it.
pub(crate) fn version(args: &VersionArgs) -> Result<u8> {
    let commit = commit();
    let document = json!({
        "Client": {
            "Version": VERSION,
            "GitCommit": commit,
            "Os": std::env::consts::OS,
            "Arch": std::env::consts::ARCH,
            "Spec": SPEC_VERSION,
        },
    });
    output::print(&match Format::of_document(args.format.format.as_deref())? {
        Format::Own => format!("minibox {VERSION}\ncommit: {commit}\nspec: {SPEC_VERSION}\n"),
        Format::Json => format!("{document}\n"),
        Format::Template(template) | Format::Columns(template) => {
            template.render(&document)? + "\n"
        }
    });
    Ok(0)
}
