//! `minibox rename`: another name for a container, whatever it is doing.

use minibox_runtime::state::Lock;
use minibox_runtime::{Error, Result};

use crate::args::RenameArgs;
use crate::living;
use crate::store::Store;
use crate::wishes::check_name;

/// Gives it another name.
pub(crate) fn rename(store: &Store, args: &RenameArgs) -> Result<u8> {
    check_name(&args.name)?;
    let found = living::find_started(store, &args.container)?;
    let gone = || Error::new(format!("{} has just been removed", args.container));
    let _lock = Lock::wait(&store.folder(&found.record.id))?.ok_or_else(gone)?;
    let mut container = store.load(&found.record.id)?.ok_or_else(gone)?;
    if container.record.name == args.name {
        return Err(Error::new(format!("{:?} is its name already", args.name)));
    }
    store.rename(&mut container.record, &args.name)?;
    Ok(0)
}
