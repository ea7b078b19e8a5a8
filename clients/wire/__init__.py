"""The wire contract: proto, generated stubs, REST schemas, the code table and conversions."""
