//! Chunks that were damaged on purpose, and arrays in unusual clothes.

use super::*;

#[test]
fn damaged_chunks_are_errors_and_never_panics() {
    let mut random = Random::new(99);
    let mut scratch = Scratch::new(1).unwrap();
    let picked = [1usize, 8, 9, 14, 20];
    let (mut refused, mut read) = (0, 0);
    for (at, (_, properties)) in layouts().into_iter().enumerate() {
        let nulls = [Nulls::None, Nulls::Some, Nulls::Tail][at % 3];
        let batch = batch(&mut random, 700, nulls, 60);
        let file = write(&batch, properties);
        let metadata = open(&file);
        let rounds = if picked.contains(&at) { 25 } else { 8 };
        for column in 0..batch.num_columns() {
            let chunk = metadata.metadata().row_group(0).column(column);
            let rows = metadata.metadata().row_group(0).num_rows() as usize;
            let good = chunk_bytes(&file, &metadata, 0, column);
            for round in 0..rounds {
                let mut bytes = good.to_vec();
                match round % 4 {
                    0 => bytes.truncate(random.below(bytes.len())),
                    1 => {
                        // Headers stand in front: aim there more often.
                        let place = random.below(40.min(bytes.len()));
                        bytes[place] = random.next() as u8;
                    }
                    _ => {
                        for _ in 0..=random.below(3) {
                            let place = random.below(bytes.len());
                            bytes[place] ^= 1 << random.below(8);
                        }
                    }
                }
                let bytes = Bytes::from(bytes);
                let text = crate::page::verify::is_text(chunk.column_descr());
                let verified = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    verify_chunk(bytes.clone(), chunk, rows, &mut scratch)
                }));
                if ChunkDecoder::try_new(bytes.clone(), chunk, rows, text).is_ok_and(|decoder| decoder.is_none()) {
                    continue; // The parquet crate's own decoders: the caller guards them.
                }
                let verified = verified.expect("no panic");
                match decode_chunk(bytes.clone(), chunk, rows, text, &mut scratch) {
                    Ok(Some(decoded)) => {
                        read += 1;
                        assert!(verified.is_ok(), "what decodes also verifies: {verified:?}");
                        let data_type = metadata.schema().field(column).data_type();
                        let _ = materialise::array(&decoded, 0..rows, data_type).unwrap();
                        let routing = Routing::new((0..rows).map(|row| (row % 3) as u16).collect(), 2);
                        let target = chunk.column_descr_ptr();
                        for encoded in encode::encode_chunk(&decoded, &routing, &target, 100, &mut scratch).unwrap() {
                            assert!(encoded.is_some());
                        }
                    }
                    Ok(None) => {}
                    Err(_) => refused += 1,
                }
                let conversion = Conversion::try_new(
                    Kind::of(chunk.column_descr()).unwrap(),
                    metadata.schema().field(column).data_type(),
                    Kind::of(chunk.column_descr()).unwrap(),
                    metadata.schema().field(column).data_type(),
                );
                let routing = Routing::new((0..rows).map(|row| u16::from(row % 9 > 0)).collect(), 1);
                if let (Ok(Some(mut decoder)), Some(conversion)) =
                    (ChunkDecoder::try_new(bytes, chunk, rows, text), conversion)
                {
                    let _ = encode::transcode(
                        &mut decoder,
                        &conversion,
                        &routing,
                        &chunk.column_descr_ptr(),
                        100,
                        &mut scratch,
                        None,
                    );
                }
            }
        }
    }
    assert!(refused > 1000 && read > 100, "{refused} refused, {read} read");
}

#[test]
fn arrow_dictionaries_are_no_trouble() {
    let words: DictionaryArray<Int32Type> = ["a", "b", "a"].into_iter().collect();
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8, true)]));
    let target = ArrowSchemaConverter::new().convert(&schema).unwrap().column(0);
    let routing = Routing::new(vec![1; 3], 1);
    let mut scratch = Scratch::new(1).unwrap();
    let array: ArrayRef = Arc::new(words);
    assert!(new_column::encode_arrays(&[array], &routing, &target, &mut scratch).unwrap().is_none());
}
