//! Direct methods: handlers by name, and the rule that a call is carried out at most once.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Semaphore;
use twin_core::ids::TwinId;
use twin_core::value::Value;

use crate::limits::METHODS_RUNNING_MAX;

/// A method call, for its handler.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodCall {
    /// The device.
    pub twin: TwinId,
    /// The method's name.
    pub method: String,
    /// What the caller sent.
    pub payload: Value,
}

/// A handler's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodAnswer {
    /// HTTP-like: 200 is good.
    pub status: u16,
    /// For the caller.
    pub payload: Value,
}

impl MethodAnswer {
    /// An answer.
    pub fn new(status: u16, payload: impl Into<Value>) -> Self {
        Self { status, payload: payload.into() }
    }
}

impl From<(u16, Value)> for MethodAnswer {
    fn from((status, payload): (u16, Value)) -> Self {
        Self { status, payload }
    }
}

pub(crate) type Handler = Arc<dyn Fn(MethodCall) -> Pin<Box<dyn Future<Output = MethodAnswer> + Send>> + Send + Sync>;

/// Handlers by name.
pub(crate) struct Methods {
    handlers: RwLock<HashMap<String, Handler>>,
    /// Bounds those that run.
    pub(crate) running: Arc<Semaphore>,
}

impl Methods {
    pub(crate) fn new() -> Self {
        Self { handlers: RwLock::default(), running: Arc::new(Semaphore::new(METHODS_RUNNING_MAX)) }
    }

    pub(crate) fn set(&self, name: &str, handler: Handler) {
        self.handlers.write().insert(name.to_owned(), handler);
    }

    pub(crate) fn get(&self, name: &str) -> Option<Handler> {
        self.handlers.read().get(name).cloned()
    }
}
