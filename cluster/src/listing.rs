//! Listing twins by site, page by page, from committed rows: it activates no grain.

use twin_core::document::TwinDocument;
use twin_core::ids::{SiteId, TwinId};
use twin_core::refusal::Refusal;
use twin_storage::families::{Family, site_twin};

use crate::cell::Cell;
use crate::limits::PAGE_TWINS_MAX;
use crate::loader::load_many;
use crate::view::{TwinPage, TwinQuery};

/// A page of twins. The state is what was committed when the page was begun or later; twins made or deleted while pages are
/// turned may or may not be seen.
pub(crate) fn page(cell: &Cell, query: &TwinQuery) -> Result<TwinPage, Refusal> {
    let limit = query.limit.clamp(1, PAGE_TWINS_MAX);
    let after = query.after.as_deref().map(|cursor| parse_cursor(cursor, query.site.as_ref())).transpose()?;
    let prefix = query.site.as_ref().map_or_else(bytes::Bytes::new, site_twin::prefix);
    let after = after.map(|(site, twin)| site_twin::key(&site, &twin));
    let scan =
        cell.reader().scan(Family::SiteTwin, &prefix, after.as_deref(), limit).map_err(|error| unreadable(&error))?;
    let listed: Vec<(SiteId, TwinId)> = scan
        .rows
        .iter()
        .map(|(key, _)| site_twin::decode(key).map_err(|error| unreadable(&error)))
        .collect::<Result<_, _>>()?;
    let ids: Vec<TwinId> = listed.iter().map(|(_, twin)| twin.clone()).collect();
    let mut twins: Vec<TwinDocument> = Vec::with_capacity(limit);
    for twin in load_many(cell.reader(), &ids)? {
        // Deleted since the scan: left out.
        match twin?.document() {
            Ok(document) => twins.push(document),
            Err(Refusal::NotFound { .. }) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let last = listed.last();
    let next = last.filter(|_| scan.more).map(|(site, twin)| format!("{site}/{twin}"));
    Ok(TwinPage { twins, next })
}

fn parse_cursor(cursor: &str, site: Option<&SiteId>) -> Result<(SiteId, TwinId), Refusal> {
    cursor
        .split_once('/')
        .and_then(|(site, twin)| Some((SiteId::new(site).ok()?, TwinId::new(twin).ok()?)))
        .filter(|(of, _)| site.is_none_or(|site| site == of))
        .ok_or_else(|| Refusal::Invalid {
            message: format!("{cursor:?} is not a cursor of this listing: take it from `next` of the page before"),
        })
}

fn unreadable(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "the listing cannot be read");
    Refusal::Unavailable { message: format!("the listing cannot be read: {error}"), retry_after_ms: 10_000 }
}
