//! MessagePack by hand, for what is encoded once and then only copied: the same bytes that rmp-serde writes, without serde's
//! way through a result for each of them.

use bytes::BufMut;
use twin_core::value::{Number, Value};

/// `nil`.
pub fn nil(out: &mut impl BufMut) {
    out.put_u8(0xc0);
}

/// A boolean.
pub fn boolean(out: &mut impl BufMut, value: bool) {
    out.put_u8(if value { 0xc3 } else { 0xc2 });
}

/// An unsigned number, in the shortest form.
#[inline]
pub fn uint(out: &mut impl BufMut, value: u64) {
    match value {
        0..0x80 => out.put_u8(value as u8),
        0x80..=0xff => out.put_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            let [a, b] = (value as u16).to_be_bytes();
            out.put_slice(&[0xcd, a, b]);
        }
        0x1_0000..=0xffff_ffff => {
            let [a, b, c, d] = (value as u32).to_be_bytes();
            out.put_slice(&[0xce, a, b, c, d]);
        }
        _ => {
            out.put_u8(0xcf);
            out.put_u64(value);
        }
    }
}

/// A signed number, in the shortest form.
#[inline]
pub fn int(out: &mut impl BufMut, value: i64) {
    match value {
        0.. => uint(out, value.cast_unsigned()),
        -32..=-1 => out.put_i8(value as i8),
        -0x80..=-33 => out.put_slice(&[0xd0, (value as i8).cast_unsigned()]),
        -0x8000..=-0x81 => {
            out.put_u8(0xd1);
            out.put_i16(value as i16);
        }
        -0x8000_0000..=-0x8001 => {
            out.put_u8(0xd2);
            out.put_i32(value as i32);
        }
        _ => {
            out.put_u8(0xd3);
            out.put_i64(value);
        }
    }
}

/// A 64-bit float.
#[inline]
pub fn float(out: &mut impl BufMut, value: f64) {
    let mut bytes = [0xcb; 9];
    bytes[1..].copy_from_slice(&value.to_be_bytes());
    out.put_slice(&bytes);
}

/// A string.
#[inline]
pub fn text(out: &mut impl BufMut, text: &str) {
    match text.len() {
        length @ 0..32 => out.put_u8(0xa0 | length as u8),
        length @ 32..=0xff => out.put_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.put_u8(0xda);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(0xdb);
            out.put_u32(length as u32);
        }
    }
    out.put_slice(text.as_bytes());
}

/// Bytes.
#[inline]
pub fn binary(out: &mut impl BufMut, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..=0xff => out.put_slice(&[0xc4, length as u8]),
        length @ 0x100..=0xffff => {
            out.put_u8(0xc5);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(0xc6);
            out.put_u32(length as u32);
        }
    }
    out.put_slice(bytes);
}

/// The head of an array; its elements follow.
#[inline]
pub fn array(out: &mut impl BufMut, length: usize) {
    match length {
        0..16 => out.put_u8(0x90 | length as u8),
        16..=0xffff => {
            out.put_u8(0xdc);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(0xdd);
            out.put_u32(length as u32);
        }
    }
}

/// The head of a map; its keys and values follow.
#[inline]
pub fn map(out: &mut impl BufMut, length: usize) {
    match length {
        0..16 => out.put_u8(0x80 | length as u8),
        16..=0xffff => {
            out.put_u8(0xde);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(0xdf);
            out.put_u32(length as u32);
        }
    }
}

/// Any value.
pub fn value(out: &mut impl BufMut, value: &Value) {
    match value {
        Value::Null => nil(out),
        Value::Bool(value) => boolean(out, *value),
        Value::Number(Number::Integer(integer)) => int(out, *integer),
        Value::Number(Number::Float(value)) => float(out, *value),
        Value::String(value) => text(out, value),
        Value::Array(items) => {
            array(out, items.len());
            for item in items {
                self::value(out, item);
            }
        }
        Value::Object(members) => {
            map(out, members.len());
            for (key, member) in members {
                text(out, key);
                self::value(out, member);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_byte_for_byte_what_rmp_serde_writes() {
        let mut integers = vec![0_i64, i64::MAX, i64::MIN];
        for shift in [5, 7, 8, 15, 16, 31, 32] {
            let power = 1_i64 << shift;
            integers.extend([power - 1, power, power + 1, -power + 1, -power, -power - 1]);
        }
        let mut values: Vec<Value> = integers.into_iter().map(Value::from).collect();
        values.extend([Value::Null, true.into(), false.into(), 0.1.into(), Value::empty_object()]);
        for length in [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536] {
            values.push("x".repeat(length).as_str().into());
            values.push(Value::Array(vec![Value::Null; length]));
            values.push(Value::Object((0..length).map(|n| (n.to_string().into(), Value::Null)).collect()));
        }
        for sample in values {
            let mut out = Vec::new();
            value(&mut out, &sample);
            assert_eq!(out, rmp_serde::to_vec(&sample).unwrap());
        }
        for number in [0, 127, 128, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
            let mut out = Vec::new();
            uint(&mut out, number);
            assert_eq!(out, rmp_serde::to_vec(&number).unwrap());
        }
    }
}
