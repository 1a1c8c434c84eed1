//! The verbs that show things. What each prints as JSON is described in docs/schema.md.

pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod ps;
pub(crate) mod top;
pub(crate) mod version;
pub(crate) mod words;
