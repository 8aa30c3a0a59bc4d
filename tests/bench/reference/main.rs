//! The reference server of the benchmark: parse a submission's JSON, answer 202, nothing else.
//!
//! It shows what this machine, this HTTP library and this load generator can do at most. It is
//! frozen: change it and every ratio measured before means something else. It shares no code
//! with the product.

#![allow(clippy::print_stdout, reason = "its address is its output")]

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

async fn accept(Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let business = body.get("business").cloned().unwrap_or(Value::Null);
    (StatusCode::ACCEPTED, Json(serde_json::json!({ "business": business })))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, Router::new().route("/v1/transactions", post(accept))).await
}
