//! Exporting twins by site and id, page by page, from committed rows: it activates no grain.

use bytes::Bytes;
use twin_core::ids::{SiteId, TwinId};
use twin_core::refusal::Refusal;
use twin_core::view::{Audience, TwinView};
use twin_storage::families::{Family, site_twin};

use crate::cell::{Cell, unreadable};
use crate::limits::{EXPORT_PAGE_SITES_MAX, PAGE_TWINS_MAX};
use crate::loader::load_many;

/// Which twins to export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportQuery {
    /// Only of this site; `None`: of all.
    pub site: Option<SiteId>,
    /// Only those whose ids begin so.
    pub prefix: String,
    /// Only those behind this place.
    pub after: Option<ExportPlace>,
    /// Most twins of the page.
    pub limit: usize,
}

/// One page of an export, in the order of sites and ids.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportPage {
    /// The twins as the back office is shown them. May be none although more come.
    pub twins: Vec<(TwinId, TwinView)>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<ExportPlace>,
}

/// A place in an export: at or between twins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportPlace(Bytes);

impl ExportPlace {
    /// At a twin of a site, whether it exists or not.
    pub fn at(site: &SiteId, twin: &TwinId) -> Self {
        Self(site_twin::key(site, twin))
    }
}

/// A page of an export. The state is what was committed when the page was begun or later.
pub(crate) fn page(cell: &Cell, query: &ExportQuery) -> Result<ExportPage, Refusal> {
    let limit = query.limit.clamp(1, PAGE_TWINS_MAX);
    let after = query.after.as_ref().map(|place| place.0.clone());
    let (keys, next) = match &query.site {
        Some(site) => keys(cell, &site_twin::prefix_of_ids(site, &query.prefix), after.as_deref(), limit)?,
        None if query.prefix.is_empty() => keys(cell, &[], after.as_deref(), limit)?,
        None => keys_across_sites(cell, &query.prefix, after, limit)?,
    };
    let twin_of = |key: &Bytes| match site_twin::decode(key) {
        Ok((_, twin)) => Ok(twin),
        Err(error) => Err(unreadable("the listing", error)),
    };
    let ids: Vec<TwinId> = keys.iter().map(twin_of).collect::<Result<_, _>>()?;
    let mut twins = Vec::with_capacity(ids.len());
    for (id, twin) in ids.iter().zip(load_many(cell.reader(), &ids)?) {
        match twin?.view(&Audience::BackOffice) {
            Ok(view) => twins.push((id.clone(), view)),
            // Deleted since the scan.
            Err(Refusal::NotFound { .. }) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(ExportPage { twins, next: next.map(ExportPlace) })
}

/// The listing's keys that begin with a prefix, and the last one, if there are more.
fn keys(
    cell: &Cell,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<(Vec<Bytes>, Option<Bytes>), Refusal> {
    if after.is_some_and(|after| after > prefix && !after.starts_with(prefix)) {
        return Ok((Vec::new(), None));
    }
    let scan = cell.reader().scan(Family::SiteTwin, prefix, after, limit);
    let scan = scan.map_err(|error| unreadable("the listing", error))?;
    let keys: Vec<Bytes> = scan.rows.into_iter().map(|(key, _)| key).collect();
    let next = keys.last().filter(|_| scan.more).cloned();
    Ok((keys, next))
}

/// The same where only ids with a prefix are wanted, of all sites: within each site from its first such id, then on to the next site.
fn keys_across_sites(
    cell: &Cell,
    prefix: &str,
    mut after: Option<Bytes>,
    limit: usize,
) -> Result<(Vec<Bytes>, Option<Bytes>), Refusal> {
    let mut found = Vec::new();
    for _ in 0..EXPORT_PAGE_SITES_MAX {
        let (ahead, _) = keys(cell, &[], after.as_deref(), 1)?;
        let Some(ahead) = ahead.first() else { return Ok((found, None)) };
        let (site, _) = site_twin::decode(ahead).map_err(|error| unreadable("the listing", error))?;
        let wanted = site_twin::prefix_of_ids(&site, prefix);
        let (here, next) = keys(cell, &wanted, after.as_deref(), limit - found.len())?;
        found.extend(here);
        if next.is_some() {
            return Ok((found, next));
        }
        after = Some(site_twin::end(&site));
        if found.len() >= limit {
            break;
        }
    }
    Ok((found, after))
}
