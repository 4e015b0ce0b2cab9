//! To rows and back.

use super::Twin;
use super::life::Life;
use crate::alarm::Alarms;
use crate::ids::TwinId;
use crate::mark::Marks;
use crate::rows::{ChangedRows, HeadRow, HomeRow, HotRow, RowError, RowImages, RowKind, Rows, decode, encode};
use bytes::Bytes;

impl Twin {
    /// From its rows. Without a home row the twin does not exist: that row decides.
    pub fn load(id: TwinId, rows: Rows) -> Result<Self, RowError> {
        let Some(home) = rows.get(RowKind::Home) else {
            return Ok(Self::absent(id));
        };
        let home: HomeRow = decode(RowKind::Home, home)?;
        let row = |kind| rows.get(kind).ok_or(RowError::Missing { row: kind });
        let head: HeadRow = decode(RowKind::Head, row(RowKind::Head)?)?;
        if home.incarnation != head.incarnation || head.incarnation.get() == 0 {
            return Err(RowError::Torn { home: home.incarnation, head: head.incarnation });
        }
        let life = Life {
            hot: HotRow::decode(row(RowKind::Hot)?)?,
            head,
            desired: decode(RowKind::Desired, row(RowKind::Desired)?)?,
            marks: match rows.get(RowKind::Marks) {
                Some(marks) => decode(RowKind::Marks, marks)?,
                None => Marks::default(),
            },
            alarms: match rows.get(RowKind::Alarms) {
                Some(alarms) => decode(RowKind::Alarms, alarms)?,
                None => Alarms::default(),
            },
        };
        Ok(Self { id, life: Some(Box::new(life)) })
    }

    /// After-images of the rows named; `None`: the row is gone.
    pub fn encode(&mut self, changed: ChangedRows) -> RowImages {
        changed.iter().map(|kind| (kind, self.life.as_deref_mut().and_then(|life| life.row(kind)))).collect()
    }
}

impl Life {
    fn row(&mut self, kind: RowKind) -> Option<Bytes> {
        Some(match kind {
            RowKind::Home => encode(&HomeRow { site: self.head.site.clone(), incarnation: self.head.incarnation }),
            RowKind::Hot => self.hot.encode(),
            RowKind::Head => encode(&self.head),
            RowKind::Desired => encode(&self.desired),
            RowKind::Marks if self.marks.is_empty() => return None,
            RowKind::Marks => encode(&self.marks),
            RowKind::Alarms if self.alarms.is_empty() => return None,
            RowKind::Alarms => encode(&self.alarms),
        })
    }
}
