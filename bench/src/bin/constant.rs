//! The gateway's HTTP service, with its middleware and its treatment of connections, around a handler that answers
//! everything with the same bytes: how fast any handler could be.

use std::net::SocketAddr;
use std::path::PathBuf;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, web};
use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;

/// Answers every request with the same response.
#[derive(Parser)]
struct Cli {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    status: u16,
    /// Repeatable: "Name: value".
    #[arg(long = "header")]
    headers: Vec<String>,
    /// The file with the body.
    #[arg(long)]
    body: PathBuf,
}

#[derive(Clone)]
struct Constant {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    gateway::start_logging();
    let headers = cli.headers.iter().map(|header| -> Result<_> {
        let (name, value) = header.split_once(": ").with_context(|| format!("expected NAME: VALUE, found {header}"))?;
        Ok((name.parse()?, value.parse()?))
    });
    let constant = Constant {
        status: StatusCode::from_u16(cli.status)?,
        headers: headers.collect::<Result<_>>()?,
        body: std::fs::read(&cli.body).with_context(|| cli.body.display().to_string())?.into(),
    };
    let routes = move |app: &mut web::ServiceConfig| {
        // Matched as the gateway does it.
        for directory in ["/buildid", "/buildids"] {
            app.service(web::scope(directory).default_service(web::to(answer)));
        }
        for path in ["/metrics", "/healthz"] {
            app.route(path, web::to(answer));
        }
        app.app_data(web::Data::new(constant.clone()));
    };
    tokio::runtime::Runtime::new()?.block_on(gateway::serve(cli.listen, routes))
}

async fn answer(constant: web::Data<Constant>) -> HttpResponse {
    let mut response = HttpResponse::build(constant.status);
    for (name, value) in &constant.headers {
        response.insert_header((name.clone(), value.clone()));
    }
    response.body(constant.body.clone())
}
