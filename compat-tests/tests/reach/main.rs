//! From a build to an answer, everything real: every way into the index, the life of builds, and darkserver's founding
//! story.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test, and says where")]

mod life;
mod messages;
mod site;
mod story;
mod ways;
