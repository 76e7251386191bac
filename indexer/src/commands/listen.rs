//! The command `listen`: the service.

use std::process::ExitCode;
use std::time::Duration;

use sql::{Access, Index};

use crate::cli::{Common, ListenArgs};
use crate::logging;
use crate::report::failure::Result;
use crate::service;
use crate::settings;

/// Runs the service until a signal stops it. It starts although the database is down.
pub(crate) async fn run(args: ListenArgs, common: &Common) -> Result<ExitCode> {
    let mut settings = settings::service::service(common)?;
    if let Some(format) = args.log_format {
        settings.log_format = format;
    }
    if let Some(listen) = args.listen {
        settings.listen = listen;
    }
    let database = settings::database(common)?;
    logging::start_service(settings.log_format);
    tracing::info!(%database, version = env!("CARGO_PKG_VERSION"), "starting");
    let index = Index::open(&database, Access::ReadWrite)?.with_retry_timeout(Duration::from_secs(common.wait));
    // What was acknowledged survives a power cut.
    let index = index.durable();
    Box::pin(service::run(index, &database, settings)).await
}
