//! A walk over a Parquet footer before the parquet crate reads it.
//!
//! The parquet crate allocates what a list header asks for, and follows the schema tree by recursion: a forged footer of a few bytes can end
//! the process, which no `Result` and no unwinding catches. So the footer is walked first, with the shape that the parquet crate will assume:
//! every list must fit into the bytes behind it, known fields must have their type, and the schema tree must be shallow and complete.
//!
//! # Source
//!
//! parquet-format `parquet.thrift`; Thrift compact protocol.

/// A list longer than this is refused, whatever is behind it: the parquet crate needs some hundred bytes for each element.
const LIST_LIMIT: usize = 1 << 20;
/// Groups within groups, lists and maps count for two or three.
const SCHEMA_DEPTH_LIMIT: usize = 48;
/// Thrift structures within structures, for fields that nobody knows.
const SKIP_DEPTH_LIMIT: usize = 32;

/// What the parquet crate expects in a field.
enum Shape {
    /// One raw byte.
    Byte,
    /// 16, 32 or 64 bits: all are a variable-length integer.
    Integer,
    Bool,
    Double,
    Binary,
    List(&'static Shape),
    Struct(&'static [(i64, Shape)]),
    /// The struct whose field 5 counts the children of a schema node.
    SchemaElement,
}

use Shape::{Binary, Bool, Byte, Double, Integer, List, Struct};

const INTEGERS: Shape = List(&Integer);
const TEXTS: Shape = List(&Binary);
const EMPTY: Shape = Struct(&[]);

const FILE: &[(i64, Shape)] = &[
    (1, Integer),
    (2, List(&Shape::SchemaElement)),
    (3, Integer),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(KEY_VALUE))),
    (6, Binary),
    (7, List(&Struct(&[(1, EMPTY)]))),
    (8, Struct(&[(1, Struct(AES)), (2, Struct(AES))])),
    (9, Binary),
];
const AES: &[(i64, Shape)] = &[(1, Binary), (2, Binary), (3, Bool)];
const KEY_VALUE: &[(i64, Shape)] = &[(1, Binary), (2, Binary)];
const SCHEMA_ELEMENT: &[(i64, Shape)] = &[
    (1, Integer),
    (2, Integer),
    (3, Integer),
    (4, Binary),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, Integer),
    (9, Integer),
    (10, Struct(LOGICAL_TYPE)),
];
const LOGICAL_TYPE: &[(i64, Shape)] = &[
    (1, EMPTY),
    (2, EMPTY),
    (3, EMPTY),
    (4, EMPTY),
    (5, Struct(&[(1, Integer), (2, Integer)])),
    (6, EMPTY),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Byte), (2, Bool)])),
    (11, EMPTY),
    (12, EMPTY),
    (13, EMPTY),
    (14, EMPTY),
    (15, EMPTY),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, Integer)])),
];
const TIME: &[(i64, Shape)] = &[(1, Bool), (2, Struct(&[(1, EMPTY), (2, EMPTY), (3, EMPTY)]))];
const ROW_GROUP: &[(i64, Shape)] = &[
    (1, List(&Struct(COLUMN_CHUNK))),
    (2, Integer),
    (3, Integer),
    (4, List(&Struct(&[(1, Integer), (2, Bool), (3, Bool)]))),
    (5, Integer),
    (6, Integer),
    (7, Integer),
];
const COLUMN_CHUNK: &[(i64, Shape)] = &[
    (1, Binary),
    (2, Integer),
    (3, Struct(COLUMN_META)),
    (4, Integer),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, Struct(&[(1, EMPTY), (2, Struct(&[(1, TEXTS), (2, Binary)]))])),
    (9, Binary),
];
const COLUMN_META: &[(i64, Shape)] = &[
    (1, Integer),
    (2, INTEGERS),
    (3, TEXTS),
    (4, Integer),
    (5, Integer),
    (6, Integer),
    (7, Integer),
    (8, List(&Struct(KEY_VALUE))),
    (9, Integer),
    (10, Integer),
    (11, Integer),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, Integer), (2, Integer), (3, Integer)]))),
    (14, Integer),
    (15, Integer),
    (16, Struct(&[(1, Integer), (2, INTEGERS), (3, INTEGERS)])),
    (17, Struct(&[(1, Struct(BOUNDING_BOX)), (2, INTEGERS)])),
];
const STATISTICS: &[(i64, Shape)] =
    &[(1, Binary), (2, Binary), (3, Integer), (4, Integer), (5, Binary), (6, Binary), (7, Bool), (8, Bool)];
const BOUNDING_BOX: &[(i64, Shape)] =
    &[(1, Double), (2, Double), (3, Double), (4, Double), (5, Double), (6, Double), (7, Double), (8, Double)];

const COLUMN_INDEX: &[(i64, Shape)] =
    &[(1, List(&Bool)), (2, TEXTS), (3, TEXTS), (4, Integer), (5, INTEGERS), (6, INTEGERS), (7, INTEGERS)];
const OFFSET_INDEX: &[(i64, Shape)] = &[(1, List(&Struct(&[(1, Integer), (2, Integer), (3, Integer)]))), (2, INTEGERS)];

/// Why a footer is not handed to the parquet crate.
pub(crate) type Fault = String;

/// Check the Thrift bytes of a footer.
pub(crate) fn check_footer(bytes: &[u8]) -> Result<(), Fault> {
    check_schema(&walk(bytes, FILE)?)
}

/// Check the Thrift bytes of one column chunk's column index.
pub(crate) fn check_column_index(bytes: &[u8]) -> Result<(), Fault> {
    walk(bytes, COLUMN_INDEX).map(drop)
}

/// Check the Thrift bytes of one column chunk's offset index.
pub(crate) fn check_offset_index(bytes: &[u8]) -> Result<(), Fault> {
    walk(bytes, OFFSET_INDEX).map(drop)
}

/// The child counts of all schema elements met on the way.
fn walk(bytes: &[u8], fields: &'static [(i64, Shape)]) -> Result<Vec<i64>, Fault> {
    let mut walk = Walk { rest: bytes, children: Vec::new() };
    walk.known(fields)?;
    Ok(walk.children)
}

/// The schema is a tree in depth-first order, each node with its number of children.
fn check_schema(children: &[i64]) -> Result<(), Fault> {
    let Some((root, nodes)) = children.split_first() else {
        return Err("the footer has no schema".to_owned());
    };
    // How many children are still to come, for the open node on each level.
    let mut open = vec![*root];
    for count in nodes {
        while open.last() == Some(&0) {
            open.pop();
        }
        let Some(left) = open.last_mut() else {
            return Err("the schema has nodes outside its tree".to_owned());
        };
        *left -= 1;
        if *count < 0 || *count as usize > nodes.len() {
            return Err(format!("a schema node claims {count} children"));
        }
        if *count > 0 {
            open.push(*count);
        }
        if open.len() > SCHEMA_DEPTH_LIMIT {
            return Err(format!("the schema is nested deeper than {SCHEMA_DEPTH_LIMIT}"));
        }
    }
    if open.iter().any(|left| *left != 0) {
        return Err("the schema lacks nodes that it counts".to_owned());
    }
    Ok(())
}

/// Thrift's compact type numbers.
mod wire {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const STRUCT: u8 = 12;
}

struct Walk<'a> {
    rest: &'a [u8],
    /// Field 5 of every schema element, in order.
    children: Vec<i64>,
}

impl Walk<'_> {
    fn skip(&mut self, len: usize) -> Result<(), Fault> {
        match self.rest.get(len..) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err("the footer ends inside a value".to_owned()),
        }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let first = self.rest.first().copied();
        self.skip(1)?;
        first.ok_or_else(|| "the footer ends inside a value".to_owned())
    }

    fn variable(&mut self) -> Result<u64, Fault> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("the footer has an integer without end".to_owned())
    }

    fn signed(&mut self) -> Result<i64, Fault> {
        let value = self.variable()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn binary(&mut self) -> Result<(), Fault> {
        let len = self.variable()?;
        self.skip(usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Type and length of a list; its elements take a byte each at least.
    fn list(&mut self) -> Result<(u8, usize), Fault> {
        let header = self.byte()?;
        let count = match header >> 4 {
            15 => usize::try_from(self.variable()?).unwrap_or(usize::MAX),
            count => usize::from(count),
        };
        if count > self.rest.len() || count > LIST_LIMIT {
            return Err(format!("the footer claims a list of {count} elements in {} bytes", self.rest.len()));
        }
        Ok((header & 0x0f, count))
    }

    /// The type and id of the next field of a struct; `None` at its end.
    fn field(&mut self, last_id: i64) -> Result<Option<(u8, i64)>, Fault> {
        let header = self.byte()?;
        let kind = header & 0x0f;
        if kind == 0 {
            return Ok(None);
        }
        let id = match header >> 4 {
            0 => self.signed()?,
            delta => last_id + i64::from(delta),
        };
        Ok(Some((kind, id)))
    }

    /// A struct whose fields the parquet crate knows.
    fn known(&mut self, fields: &'static [(i64, Shape)]) -> Result<Option<i64>, Fault> {
        let (mut last_id, mut fifth) = (0, None);
        while let Some((kind, id)) = self.field(last_id)? {
            if !(0..=i64::from(i16::MAX)).contains(&id) {
                return Err(format!("the footer has a field numbered {id}"));
            }
            match fields.iter().find(|(known, _)| *known == id) {
                Some((_, shape)) => {
                    let value = self.expect(kind, shape, id)?;
                    if id == 5 {
                        fifth = value;
                    }
                }
                None => self.unknown(kind, SKIP_DEPTH_LIMIT)?,
            }
            last_id = id;
        }
        Ok(fifth)
    }

    /// A value of a known shape; the value itself when it is an integer.
    fn expect(&mut self, kind: u8, shape: &'static Shape, id: i64) -> Result<Option<i64>, Fault> {
        match (shape, kind) {
            (Byte, wire::BYTE) => self.skip(1)?,
            (Integer, wire::I16 | wire::I32 | wire::I64) => return self.signed().map(Some),
            (Bool, wire::TRUE | wire::FALSE) => {}
            (Double, wire::DOUBLE) => self.skip(8)?,
            (Binary, wire::BINARY) => self.binary()?,
            (Struct(fields), wire::STRUCT) => {
                self.known(fields)?;
            }
            (Shape::SchemaElement, wire::STRUCT) => {
                let children = self.known(SCHEMA_ELEMENT)?.unwrap_or(0);
                self.children.push(children);
            }
            (List(element), wire::LIST) => {
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    match element {
                        // In a list a bool is a byte; in a struct it is part of the field's header.
                        Bool => self.skip(1)?,
                        element => drop(self.expect(kind, element, id)?),
                    }
                }
            }
            _ => return Err(format!("field {id} of the footer has the wrong type {kind}")),
        }
        Ok(None)
    }

    /// A value that the parquet crate steps over by its own type.
    fn unknown(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!("the footer nests unknown fields deeper than {SKIP_DEPTH_LIMIT}"));
        };
        match kind {
            wire::TRUE | wire::FALSE => Ok(()),
            wire::BYTE => self.skip(1),
            wire::I16 | wire::I32 | wire::I64 => self.variable().map(drop),
            wire::DOUBLE => self.skip(8),
            wire::BINARY => self.binary(),
            wire::LIST | wire::SET => {
                let (kind, count) = self.list()?;
                (0..count).try_for_each(|_| match kind {
                    wire::TRUE | wire::FALSE => self.skip(1),
                    kind => self.unknown(kind, depth),
                })
            }
            wire::STRUCT => {
                let mut last_id = 0;
                while let Some((kind, id)) = self.field(last_id)? {
                    self.unknown(kind, depth)?;
                    last_id = id;
                }
                Ok(())
            }
            kind => Err(format!("the footer has a value of the unknown type {kind}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_lists_are_refused_before_anybody_allocates() {
        let cases: &[(&str, &[u8])] = &[
            ("nothing", &[]),
            ("schema list of 2^31 - 1 structs", &[0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00]),
            ("key-value list of 2^31 - 1 structs", &[0x59, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00]),
            ("schema list hidden in a binary", &[0x28, 0x06, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00]),
            ("integer without end", &[0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            ("unknown structs in each other", &[0xcc; 64]),
        ];
        for (what, bytes) in cases {
            assert!(check_footer(bytes).is_err(), "{what}");
        }
    }

    #[test]
    fn a_schema_must_be_one_shallow_tree() {
        let deep: Vec<i64> = std::iter::repeat_n(1, 1000).chain([0]).collect();
        let cases: &[(&[i64], bool)] = &[
            (&[0], true),
            (&[2, 0, 0], true),
            (&[2, 2, 0, 0, 0], true),
            (&[], false),
            (&[2, 0], false),
            (&[1, 0, 0], false),
            (&[1, -1], false),
            (&[1, 1_000_000, 0], false),
            (&deep, false),
        ];
        for (children, good) in cases {
            assert_eq!(check_schema(children).is_ok(), *good, "{:?}", &children[..children.len().min(6)]);
        }
    }
}
