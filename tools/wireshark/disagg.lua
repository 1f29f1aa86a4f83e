-- SPDX-License-Identifier: GPL-2.0
--
-- disagg's wire protocol for Wireshark and tshark, 4.0 and later. What it means is
-- in Documentation/protocol.rst; how to look at traffic, in operations.rst.
--
-- Messages are found by TCP port (a preference) and by their magics, and put
-- together across segments. A reply is matched to its request by tag and generation.

-- From uapi/linux/disagg_wire.h, less DISAGG_WIRE_. The test in
-- selftests/wireshark compares every line of this and of the layouts below with it.
local wire = {
	VERSION = 1,
	PORT = 7420,
	MAGIC_GREETING = 0x52474744,
	MAGIC_HELLO = 0x4c484744,
	MAGIC_WELCOME = 0x4d574744,
	MAGIC_REQUEST = 0x51524744,
	MAGIC_REPLY = 0x50524744,
	MAGIC_ANNOUNCE = 0x4e414744,
	NAME_LEN = 32,
	REASON_LEN = 96,
	UUID_LEN = 16,
	KEY_LEN = 32,
	MAX_PAYLOAD = 0x400000,
	MAX_CONTROL = 0x10000,
	MAX_DEPTH = 1024,
	MAX_LANES = 64,
	F_CRC32C = 0x01,
	F_DISCARD = 0x02,
	F_WRITE_ZEROES = 0x04,
	F_FUA = 0x08,
	F_FLUSH = 0x10,
	F_ALL = 0x1f,
	F_EPOCH = 0x20,
	MODE_CONTROL = 1,
	MODE_LANE = 2,
	CLASS_MEMORY = 1,
	CLASS_STORAGE = 2,
	CLASS_GPU = 3,
	ATTR_READ_ONLY = 0x01,
	ATTR_ROTATIONAL = 0x02,
	OP_READ = 0x01,
	OP_WRITE = 0x02,
	OP_FLUSH = 0x03,
	OP_DISCARD = 0x04,
	OP_WRITE_ZEROES = 0x05,
	OP_PING = 0x06,
	OP_INVENTORY = 0x40,
	OP_RESERVE = 0x41,
	OP_COMMIT = 0x42,
	OP_RELEASE = 0x43,
	OP_RENEW = 0x44,
	OP_RESIZE = 0x45,
	OP_LEASES = 0x46,
	FLAG_FUA = 0x01,
	FLAG_NOUNMAP = 0x02,
	OK = 0,
	E_PROTO = 1,
	E_VERSION = 2,
	E_DENIED = 3,
	E_NOT_FOUND = 4,
	E_NO_SPACE = 5,
	E_STALE = 6,
	E_BUSY = 7,
	E_INVALID = 8,
	E_IO = 9,
	E_CRC = 10,
	E_NOT_SUPPORTED = 11,
	E_READ_ONLY = 12,
	E_INTERNAL = 13,
	LEASE_RESERVED = 1,
	LEASE_COMMITTED = 2,
	LEASE_ENDING = 3,
}

-- The layouts, in the header's order: name, type, elements of an array. as: the
-- filter's name where several messages share it; names, bits: the prefix of the
-- constants; uuid: shown as disaggctl shows it. Secrets are bytes and no more.
local layouts = {
	greeting = {
		{ "magic", "le32", as = "magic", names = "MAGIC_" },
		{ "version_min", "le16" },
		{ "version_max", "le16" },
		{ "features", "le64", as = "features", bits = "F_" },
		{ "max_payload", "le32" },
		{ "max_depth", "le32" },
		{ "epoch", "le64", hex = true },
		{ "nonce", "u8", wire.KEY_LEN },
	},
	hello = {
		{ "magic", "le32", as = "magic", names = "MAGIC_" },
		{ "version", "le16", as = "version" },
		{ "mode", "le16", names = "MODE_" },
		{ "features", "le64", as = "features", bits = "F_" },
		{ "lease", "u8", wire.UUID_LEN, as = "lease", uuid = true },
		{ "generation", "le64", as = "lease_generation" },
		{ "lane", "le32" },
		{ "lanes", "le32" },
		{ "max_payload", "le32" },
		{ "depth", "le32" },
		{ "host", "char", wire.NAME_LEN },
		{ "reserved", "u8", 8, as = "reserved" },
		{ "proof", "u8", wire.KEY_LEN, as = "proof" },
	},
	welcome = {
		{ "magic", "le32", as = "magic", names = "MAGIC_" },
		{ "version", "le16", as = "version" },
		{ "status", "le16", as = "status", names = "status" },
		{ "features", "le64", as = "features", bits = "F_" },
		{ "capacity", "le64" },
		{ "max_payload", "le32" },
		{ "depth", "le32" },
		{ "block_size", "le32" },
		{ "attrs", "le32", as = "attrs", bits = "ATTR_" },
		{ "max_discard", "le32" },
		{ "reserved", "u8", 20, as = "reserved" },
		{ "reason", "char", wire.REASON_LEN },
	},
	frame = {
		{ "magic", "le32", as = "magic", names = "MAGIC_" },
		{ "op", "u8", as = "op", names = "OP_" },
		{ "flags", "u8", as = "flags", bits = "FLAG_" },
		{ "status", "le16", as = "status", names = "status" },
		{ "tag", "le32", as = "tag" },
		{ "generation", "le32", as = "generation" },
		{ "offset", "le64", as = "offset" },
		{ "length", "le32", as = "length" },
		{ "payload", "le32", as = "payload" },
		{ "reserved", "u8", 8, as = "reserved" },
		{ "payload_crc", "le32", as = "payload_crc", hex = true },
		{ "header_crc", "le32", as = "header_crc", hex = true },
	},
	resource = {
		{ "class", "le32", as = "class", names = "CLASS_" },
		{ "attrs", "le32", as = "attrs", bits = "ATTR_" },
		{ "capacity", "le64" },
		{ "available", "le64" },
		{ "largest", "le64" },
		{ "leases", "le32" },
		{ "block_size", "le32" },
		{ "reserved", "u8", 24, as = "reserved" },
		{ "id", "char", wire.NAME_LEN },
		{ "model", "char", wire.NAME_LEN },
	},
	reserve = {
		{ "txid", "u8", wire.UUID_LEN, uuid = true },
		{ "class", "le32", as = "class", names = "CLASS_" },
		{ "attrs", "le32", as = "attrs", bits = "ATTR_" },
		{ "size", "le64" },
		{ "ttl_ns", "le64" },
		{ "lease_ns", "le64" },
		{ "reserved", "u8", 16, as = "reserved" },
		{ "id", "char", wire.NAME_LEN },
		{ "node", "char", wire.NAME_LEN },
		{ "device", "char", wire.NAME_LEN },
		{ "host", "char", wire.NAME_LEN },
	},
	grant = {
		{ "lease", "u8", wire.UUID_LEN, as = "lease", uuid = true },
		{ "generation", "le64", as = "lease_generation" },
		{ "size", "le64" },
		{ "expires_ns", "le64" },
		{ "block_size", "le32" },
		{ "attrs", "le32", as = "attrs", bits = "ATTR_" },
		{ "max_lanes", "le32" },
		{ "reserved", "u8", 12, as = "reserved" },
		{ "token", "u8", wire.KEY_LEN },
		{ "resource", "char", wire.NAME_LEN },
	},
	lease_ref = {
		{ "lease", "u8", wire.UUID_LEN, as = "lease", uuid = true },
		{ "generation", "le64", as = "lease_generation" },
		{ "size", "le64" },
		{ "lease_ns", "le64" },
		{ "reserved", "u8", 24, as = "reserved" },
		{ "proof", "u8", wire.KEY_LEN, as = "proof" },
	},
	lease_info = {
		{ "lease", "u8", wire.UUID_LEN, as = "lease", uuid = true },
		{ "generation", "le64", as = "lease_generation" },
		{ "size", "le64" },
		{ "expires_ns", "le64" },
		{ "read_bytes", "le64" },
		{ "written_bytes", "le64" },
		{ "class", "le32", as = "class", names = "CLASS_" },
		{ "state", "le32", names = "LEASE_" },
		{ "lanes", "le32" },
		{ "reserved", "u8", 60, as = "reserved" },
		{ "resource", "char", wire.NAME_LEN },
		{ "node", "char", wire.NAME_LEN },
		{ "device", "char", wire.NAME_LEN },
		{ "host", "char", wire.NAME_LEN },
	},
	announce = {
		{ "magic", "le32", as = "magic", names = "MAGIC_" },
		{ "version", "le16", as = "version" },
		{ "reserved", "u8", 2, as = "reserved" },
		{ "epoch", "le64", hex = true },
		{ "sequence", "le32" },
		{ "reserved2", "u8", 12, as = "reserved" },
	},
}

-- What follows the frame of a control operation; nil: nothing.
local control = {
	[wire.OP_INVENTORY] = { reply = "resource", many = true },
	[wire.OP_LEASES] = { reply = "lease_info", many = true },
	[wire.OP_RESERVE] = { request = "reserve", reply = "grant" },
	[wire.OP_COMMIT] = { request = "lease_ref", reply = "grant" },
	[wire.OP_RENEW] = { request = "lease_ref", reply = "grant" },
	[wire.OP_RESIZE] = { request = "lease_ref", reply = "grant" },
	[wire.OP_RELEASE] = { request = "lease_ref" },
}

local messages = {
	[wire.MAGIC_GREETING] = "greeting",
	[wire.MAGIC_HELLO] = "hello",
	[wire.MAGIC_WELCOME] = "welcome",
	[wire.MAGIC_REQUEST] = "frame",
	[wire.MAGIC_REPLY] = "frame",
}

local disagg = Proto("disagg", "Disaggregated memory and storage")

disagg.prefs.ports = Pref.range("TCP ports", tostring(wire.PORT),
	"Where to expect disagg; on others it is found by its magics", 65535)
disagg.prefs.payloads = Pref.bool("Check the CRC32C of payloads", false,
	"Those of frames are always checked; payloads take some 0.1 s a MiB")

-- Names by value of the constants with a prefix; of "status", OK and the errors.
local function names_of(prefix)
	local out = {}

	for name, value in pairs(wire) do
		if prefix == "status" and (name == "OK" or name:sub(1, 2) == "E_") then
			out[value] = name
		elseif name:sub(1, #prefix) == prefix then
			out[value] = name:sub(#prefix + 1)
		end
	end
	return out
end

-- { value, name } of each single bit with that prefix, in order, and all of them.
local function bits_of(prefix)
	local out, all = {}, 0

	for value, name in pairs(names_of(prefix)) do
		if bit.band(value, value - 1) == 0 then
			out[#out + 1] = { value, name }
			all = bit.bor(all, value)
		end
	end
	table.sort(out, function(a, b) return a[1] < b[1] end)
	return out, all
end

local function label(name)
	return name:sub(1, 1):upper() .. name:sub(2):gsub("_", " ")
end

local SIZES = { u8 = 1, char = 1, le16 = 2, le32 = 4, le64 = 8 }
local INTEGERS = {
	u8 = ProtoField.uint8, le16 = ProtoField.uint16,
	le32 = ProtoField.uint32, le64 = ProtoField.uint64,
}

-- Wireshark's fields, by filter name.
local fields = {}

local function protofield(field, abbr)
	local name, type, count = field[1], field[2], field[3]

	if type == "char" then
		return ProtoField.string(abbr, label(name))
	elseif field.uuid then
		return ProtoField.guid(abbr, label(name))
	elseif count then
		return ProtoField.bytes(abbr, label(name))
	end
	field.values = field.names and names_of(field.names)
	local base = (field.bits or field.hex or field.names == "MAGIC_" or
		field.names == "OP_") and base.HEX or base.DEC
	return INTEGERS[type](abbr, label(name), base, field.values)
end

-- Each layout gets its size; each field its name, its place and what shows it.
local sizes = {}
for message, layout in pairs(layouts) do
	local size = 0
	for _, field in ipairs(layout) do
		local abbr = "disagg." .. (field.as or message .. "." .. field[1])

		field.at = size
		field.size = SIZES[field[2]] * (field[3] or 1)
		size = size + field.size
		local made = protofield(field, abbr)
		fields[abbr] = fields[abbr] or made
		field.shown = fields[abbr]
		layout[field[1]] = field
		if field.bits then
			field.single, field.known = bits_of(field.bits)
			for _, b in ipairs(field.single) do
				local one = abbr .. "." .. b[2]:lower()
				fields[one] = fields[one] or
					ProtoField.bool(one, b[2], field.size * 8, nil, b[1])
				b.shown = fields[one]
			end
		end
	end
	sizes[message] = size
end

local shown = {
	data = ProtoField.bytes("disagg.data", "Data"),
	undecoded = ProtoField.bytes("disagg.undecoded", "Not decoded"),
	reply_in = ProtoField.framenum("disagg.reply_in", "Reply in", base.NONE,
		frametype.RESPONSE),
	request_in = ProtoField.framenum("disagg.request_in", "Request in", base.NONE,
		frametype.REQUEST),
	time = ProtoField.relative_time("disagg.time", "Time since the request"),
	lane_lease = ProtoField.string("disagg.lane.lease", "Lease of this lane"),
	lane_number = ProtoField.uint32("disagg.lane.number", "Number of this lane"),
}
local list = {}
for _, field in pairs(fields) do
	list[#list + 1] = field
end
for _, field in pairs(shown) do
	list[#list + 1] = field
end
disagg.fields = list

local wrong = {
	magic = ProtoExpert.new("disagg.wrong.magic",
		"No message of disagg starts here (malformed, or the capture lacks its beginning)",
		expert.group.MALFORMED, expert.severity.ERROR),
	length = ProtoExpert.new("disagg.wrong.length", "Wrong length of the payload",
		expert.group.MALFORMED, expert.severity.ERROR),
	reserved = ProtoExpert.new("disagg.wrong.reserved", "What must be zero is not",
		expert.group.MALFORMED, expert.severity.ERROR),
	value = ProtoExpert.new("disagg.wrong.value", "A value or bit that is not defined",
		expert.group.PROTOCOL, expert.severity.WARN),
	crc = ProtoExpert.new("disagg.wrong.crc", "Wrong CRC32C",
		expert.group.CHECKSUM, expert.severity.ERROR),
	no_request = ProtoExpert.new("disagg.wrong.no_request",
		"Reply without a request (of this tag and generation, in this capture)",
		expert.group.SEQUENCE, expert.severity.WARN),
	other = ProtoExpert.new("disagg.wrong.other", "Reply to something else than was asked",
		expert.group.SEQUENCE, expert.severity.WARN),
	in_use = ProtoExpert.new("disagg.wrong.in_use", "Tag and generation are in flight already",
		expert.group.SEQUENCE, expert.severity.WARN),
	no_reply = ProtoExpert.new("disagg.no_reply", "No reply in this capture",
		expert.group.SEQUENCE, expert.severity.NOTE),
	refused = ProtoExpert.new("disagg.refused", "Status other than OK",
		expert.group.RESPONSE_CODE, expert.severity.NOTE),
	truncated = ProtoExpert.new("disagg.truncated", "The packet was not captured in full",
		expert.group.UNDECODED, expert.severity.NOTE),
}
local experts = {}
for _, e in pairs(wrong) do
	experts[#experts + 1] = e
end
disagg.experts = experts

-- What is known of each connection; written in the first pass only, in which packets
-- come in order. That pass has no fields, so connections go by addresses and ports; a
-- GREETING starts one anew.
--   lease, lane             from HELLO
--   crc, max_payload        from WELCOME
--   pending                 requests without a reply yet, by tag and generation
--   requests, replies       all of them, by packet, tag and generation
local connections, of_packet = {}, {}

function disagg.init()
	connections, of_packet = {}, {}
end

local function connection(pinfo, new)
	if pinfo.visited and of_packet[pinfo.number] then
		return of_packet[pinfo.number]
	end
	local from = ("%s %u"):format(tostring(pinfo.src), pinfo.src_port)
	local to = ("%s %u"):format(tostring(pinfo.dst), pinfo.dst_port)
	local key = from < to and from .. " " .. to or to .. " " .. from
	if new or not connections[key] then
		connections[key] = { pending = {}, requests = {}, replies = {} }
	end
	of_packet[pinfo.number] = connections[key]
	return connections[key]
end

local crc_table = {}
for i = 0, 255 do
	local crc = i
	for _ = 1, 8 do
		local low = bit.band(crc, 1)
		crc = bit.rshift(crc, 1)
		if low == 1 then
			crc = bit.bxor(crc, 0x82f63b78)
		end
	end
	crc_table[i] = crc
end

-- CRC32C of a string.
local function crc32c(data)
	local crc = 0xffffffff

	for i = 1, #data do
		crc = bit.bxor(bit.rshift(crc, 8),
			crc_table[bit.band(bit.bxor(crc, data:byte(i)), 0xff)])
	end
	return bit.bnot(crc) % 0x100000000
end

-- The number in a field of the message that starts at @at.
local function number(tvb, at, message, name)
	local field = layouts[message][name]
	local range = tvb(at + field.at, field.size)

	return field.size == 8 and range:le_uint64() or range:le_uint()
end

local function zero(range)
	return range:raw() == ("\0"):rep(range:len())
end

local function flag(item, what, text)
	if text then
		item:add_proto_expert_info(what, text)
	else
		item:add_proto_expert_info(what)
	end
end

local function show_bits(item, field, range)
	local value = field.size == 8 and range:le_uint64() or UInt64(range:le_uint())
	local names = {}

	for _, b in ipairs(field.single) do
		item:add_le(b.shown, range)
		if bit.band(value:lower(), b[1]) ~= 0 then
			names[#names + 1] = b[2]
		end
	end
	if #names > 0 then
		item:append_text(" (" .. table.concat(names, ", ") .. ")")
	end
	if value:higher() ~= 0 or bit.band(value:lower(), bit.bnot(field.known)) ~= 0 then
		flag(item, wrong.value, "Bits that are not defined")
	end
end

-- Show the fields of a layout, as far as the packet was captured.
local function show_layout(tvb, at, tree, message)
	for _, field in ipairs(layouts[message]) do
		if at + field.at + field.size > tvb:len() then
			return
		end
		local range = tvb(at + field.at, field.size)
		local item
		if field[2]:sub(1, 2) == "le" or not field[3] then
			item = tree:add_le(field.shown, range)
		else
			item = tree:add(field.shown, range)
		end
		if field.bits then
			show_bits(item, field, range)
		elseif field.values and not field.values[range:le_uint()] then
			flag(item, wrong.value)
		elseif field.as == "reserved" and not zero(range) then
			flag(item, wrong.reserved)
		end
	end
end

local function uuid(range)
	local hex = range:bytes():tohex(true)

	return ("%s-%s-%s-%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(13, 16),
		hex:sub(17, 20), hex:sub(21))
end

local function text_of(tvb, at, message, name)
	local field = layouts[message][name]

	return (tvb(at + field.at, field.size):raw():match("^[^\0]*"):gsub("[^ -~]", "."))
end

-- The bytes that must follow a frame, or what is wrong with those that do.
local function wrong_payload(frame, limit)
	local op = control[frame.op]
	local payload, size = frame.payload, nil

	if payload > limit then
		return ("%u bytes of payload; at most %u are allowed"):format(payload, limit)
	end
	if op then
		if frame.kind == "request" or frame.status == wire.OK then
			size = sizes[op[frame.kind]]
		end
		if op.many and size and payload % size == 0 then
			return nil
		end
	elseif not frame.op_name then
		return nil
	end
	local want = size or 0
	if frame.op == wire.OP_WRITE and frame.kind == "request" or
	   frame.op == wire.OP_READ and frame.kind == "reply" and frame.status == wire.OK then
		want = frame.length
	end
	if payload ~= want then
		return ("%u bytes of payload; %s%u belong here"):format(payload,
			op and op.many and size and "a multiple of " or "", want)
	end
end

local function read_frame(tvb, at)
	local frame = {
		kind = number(tvb, at, "frame", "magic") == wire.MAGIC_REQUEST and "request" or
			"reply",
		offset = number(tvb, at, "frame", "offset"),
	}

	for _, name in ipairs({ "op", "flags", "status", "tag", "generation", "length",
				"payload" }) do
		frame[name] = number(tvb, at, "frame", name)
	end
	frame.op_name = layouts.frame.op.values[frame.op]
	return frame
end

-- Whether a message may well start there: for guessing, not for judging.
local function plausible(tvb, at)
	local left = tvb:len() - at
	local message = left >= 4 and messages[tvb(at, 4):le_uint()]

	if not message then
		return false
	elseif left < sizes[message] then
		return left >= 8
	elseif message == "frame" then
		local frame = read_frame(tvb, at)
		local reserved = layouts.frame.reserved
		return frame.op_name and frame.payload <= wire.MAX_PAYLOAD and
			zero(tvb(at + reserved.at, reserved.size))
	end
	return true
end

-- Where the next message after @at may start, at most the end.
local function resync(tvb, at)
	local raw = tvb:raw(at)
	local found = 1

	while true do
		found = raw:find("DG", found + 1, true)
		if not found then
			return tvb:len()
		elseif plausible(tvb, at + found - 1) then
			return at + found - 1
		end
	end
end

local function may_be_magic(tvb, at)
	local left = tvb:raw(at)

	for magic in pairs(messages) do
		local bytes = Struct.pack("<I4", magic)
		if bytes:sub(1, #left) == left then
			return true
		end
	end
	return false
end

-- The message at @at: its name, and its bytes as far as they are known; nil if none
-- starts there. A payload of a wrong length is not waited for: the target doesn't.
local function measure(tvb, at, known)
	local left = tvb:len() - at

	if left < 4 then
		return may_be_magic(tvb, at) and "", DESEGMENT_ONE_MORE_SEGMENT
	end
	local message = messages[tvb(at, 4):le_uint()]
	if not message then
		return nil
	end
	local size = sizes[message]
	if message ~= "frame" or left < size then
		return message, size
	end
	local frame = read_frame(tvb, at)
	frame.wrong = wrong_payload(frame, known.max_payload or wire.MAX_PAYLOAD)
	if frame.wrong then
		frame.payload_there = math.min(frame.payload, left - size)
	else
		frame.payload_there = frame.payload
	end
	return message, size + frame.payload_there, frame
end

local function say(pinfo, text)
	local info = pinfo.cols.info

	-- The fence keeps what this packet's earlier messages said.
	if tostring(info):find("disagg: ", 1, true) then
		info:append(", " .. text)
	else
		info:set("disagg: " .. text)
	end
	info:fence()
end

local show = {}

function show.greeting(tvb, at)
	return ("GREETING versions %u to %u"):format(
		number(tvb, at, "greeting", "version_min"),
		number(tvb, at, "greeting", "version_max"))
end

function show.hello(tvb, at, pinfo, _, known)
	local mode = number(tvb, at, "hello", "mode")
	local lane, lanes = number(tvb, at, "hello", "lane"), number(tvb, at, "hello", "lanes")
	local host = text_of(tvb, at, "hello", "host")

	if mode ~= wire.MODE_LANE then
		return ("HELLO control, host %s"):format(host)
	end
	if not pinfo.visited then
		local lease = layouts.hello.lease
		known.lease = uuid(tvb(at + lease.at, lease.size))
		known.lane = lane
	end
	return ("HELLO lane %u of %u, host %s"):format(lane, lanes, host)
end

function show.welcome(tvb, at, pinfo, tree, known)
	local status = number(tvb, at, "welcome", "status")
	local name = layouts.welcome.status.values[status] or status

	if status ~= wire.OK then
		flag(tree, wrong.refused, "The target refuses: " .. name)
		return ("WELCOME %s: %s"):format(name, text_of(tvb, at, "welcome", "reason"))
	end
	if not pinfo.visited then
		local features = number(tvb, at, "welcome", "features")
		known.crc = bit.band(features:lower(), wire.F_CRC32C) ~= 0
		known.max_payload = number(tvb, at, "welcome", "max_payload")
	end
	return "WELCOME OK"
end

-- Seconds between two packets, as Wireshark wants it.
local function duration(from, to)
	local ns = math.floor((to - from) * 1e9 + 0.5)

	return NSTime.new(math.floor(ns / 1e9), math.floor(ns % 1e9))
end

-- Match a request and its reply, and say so in both. Of two with the same tag and
-- generation in one packet, a second pass knows the first only.
local function match(frame, pinfo, tree, known)
	local name = frame.tag .. "/" .. frame.generation
	local here = pinfo.number .. "/" .. name
	local exchange

	if frame.kind == "request" then
		if not pinfo.visited then
			exchange = { op = frame.op, offset = frame.offset, length = frame.length,
				request = pinfo.number, time = pinfo.rel_ts,
				in_use = known.pending[name] and known.pending[name].request }
			known.pending[name] = exchange
			known.requests[here] = exchange
		end
		exchange = known.requests[here]
		if not exchange then
			return
		end
		if exchange.in_use then
			flag(tree, wrong.in_use, ("Tag and generation are in flight already: frame %u")
				:format(exchange.in_use))
		end
		if exchange.reply then
			tree:add(shown.reply_in, exchange.reply):set_generated()
		elseif pinfo.visited then
			flag(tree, wrong.no_reply)
		end
		return
	end
	if not pinfo.visited then
		exchange = known.pending[name]
		known.pending[name] = nil
		if exchange then
			exchange.reply = pinfo.number
			exchange.reply_time = pinfo.rel_ts
			known.replies[here] = exchange
		end
	end
	exchange = known.replies[here]
	if not exchange then
		flag(tree, wrong.no_request)
		return
	end
	tree:add(shown.request_in, exchange.request):set_generated()
	tree:add(shown.time, duration(exchange.time, exchange.reply_time)):set_generated()
	if exchange.op ~= frame.op then
		flag(tree, wrong.other, "Reply with another op than its request's")
	elseif not control[frame.op] and
	       (exchange.length ~= frame.length or exchange.offset ~= frame.offset) then
		flag(tree, wrong.other, "Reply with another range than its request's")
	end
end

local function check_header(tvb, at, frame, tree, known)
	local payload_crc = layouts.frame.payload_crc
	local header_crc = layouts.frame.header_crc
	local want = 0

	if frame.kind == "request" and frame.status ~= 0 then
		flag(tree, wrong.reserved, "A request's status must be zero")
	elseif frame.kind == "reply" and frame.flags ~= 0 then
		flag(tree, wrong.reserved, "A reply's flags must be zero")
	end
	if known.crc == nil then
		return
	end
	if known.crc then
		want = crc32c(tvb:raw(at, header_crc.at) .. ("\0"):rep(header_crc.size))
	end
	if number(tvb, at, "frame", "header_crc") ~= want then
		flag(tree, wrong.crc, ("The frame's CRC32C should be 0x%08x"):format(want))
	end
	if not known.crc or frame.payload == 0 then
		if number(tvb, at, "frame", "payload_crc") ~= 0 then
			flag(tree, wrong.reserved, "There is no payload with a CRC32C")
		end
	elseif disagg.prefs.payloads and not frame.wrong and
	       at + sizes.frame + frame.payload <= tvb:len() then
		want = crc32c(tvb:raw(at + sizes.frame, frame.payload))
		if tvb(at + payload_crc.at, payload_crc.size):le_uint() ~= want then
			flag(tree, wrong.crc, ("The payload's CRC32C should be 0x%08x"):format(want))
		end
	end
end

local function show_payload(tvb, at, frame, tree)
	local there = math.min(frame.payload_there, tvb:len() - at)
	local op = control[frame.op]
	local message = op and not frame.wrong and op[frame.kind]

	if there <= 0 then
		return
	elseif not message then
		tree:add(shown.data, tvb(at, there))
		return
	end
	local size = sizes[message]
	for i = 0, math.floor(there / size) - 1 do
		local entry = tree:add(disagg, tvb(at + i * size, size),
			op.many and ("%s %u"):format(label(message), i) or label(message))
		for _, name in ipairs({ "id", "resource" }) do
			local text = layouts[message][name] and
				text_of(tvb, at + i * size, message, name)
			if text and text ~= "" then
				entry:append_text(": " .. text)
			end
		end
		show_layout(tvb, at + i * size, entry, message)
	end
end

function show.frame(tvb, at, pinfo, tree, known, frame)
	local name = frame.op_name or ("op 0x%02x"):format(frame.op)
	local text

	check_header(tvb, at, frame, tree, known)
	if frame.wrong then
		flag(tree, wrong.length, frame.wrong)
	end
	match(frame, pinfo, tree, known)
	if known.lease then
		tree:add(shown.lane_lease, known.lease):set_generated()
		tree:add(shown.lane_number, known.lane):set_generated()
	end
	show_payload(tvb, at + sizes.frame, frame, tree)
	if frame.kind == "reply" then
		local status = layouts.frame.status.values[frame.status] or frame.status
		if frame.status ~= wire.OK then
			flag(tree, wrong.refused, "The target refuses: " .. status)
		end
		text = ("%s %s"):format(name, status)
	elseif frame.length > 0 then
		text = ("%s %u at %s"):format(name, frame.length, tostring(frame.offset))
	else
		text = name
	end
	return ("%s, tag %u"):format(text, frame.tag)
end

local TITLES = { [wire.MAGIC_REQUEST] = "request ", [wire.MAGIC_REPLY] = "reply " }

local function show_message(tvb, at, size, pinfo, root, message, frame)
	local title = TITLES[tvb(at, 4):le_uint()] or ""
	local tree = root:add(disagg, tvb(at, math.min(size, tvb:len() - at)), "disagg " .. title)
	local text

	show_layout(tvb, at, tree, message)
	if at + sizes[message] <= tvb:len() then
		text = show[message](tvb, at, pinfo, tree, connection(pinfo, message == "greeting"), frame)
	else
		text = message:upper()
	end
	if at + size > tvb:len() then
		flag(tree, wrong.truncated)
	end
	tree:append_text(text)
	say(pinfo, text)
end

-- A datagram is one announcement, or none of ours.
local function show_announcement(tvb, pinfo, root)
	local size = sizes.announce

	if tvb:len() < 4 or tvb(0, 4):le_uint() ~= wire.MAGIC_ANNOUNCE then
		return 0
	end
	pinfo.cols.protocol = "disagg"
	local tree = root:add(disagg, tvb(), "disagg ")
	local text = "ANNOUNCE"
	if tvb:len() == size then
		show_layout(tvb, 0, tree, "announce")
		text = ("ANNOUNCE, sequence %u"):format(number(tvb, 0, "announce", "sequence"))
	else
		tree:add(shown.undecoded, tvb())
		flag(tree, wrong.length)
	end
	tree:append_text(text)
	say(pinfo, text)
	return tvb:len()
end

local UDP = 3	-- in pinfo.port_type

function disagg.dissector(tvb, pinfo, root)
	local at = 0

	if pinfo.port_type == UDP then
		return show_announcement(tvb, pinfo, root)
	end
	pinfo.cols.protocol = "disagg"
	while at < tvb:len() do
		local message, size, frame = measure(tvb, at, connection(pinfo))
		if not message then
			local next = resync(tvb, at)
			local tree = root:add(disagg, tvb(at, next - at), "disagg not decoded")
			tree:add(shown.undecoded, tvb(at, next - at))
			flag(tree, wrong.magic)
			say(pinfo, ("%u bytes not decoded"):format(next - at))
			at = next
		else
			local left = tvb:len() - at
			if left < size or message == "frame" and not frame then
				if pinfo.can_desegment > 0 and tvb:reported_len() == tvb:len() then
					pinfo.desegment_offset = at
					pinfo.desegment_len = message == "" and size or size - left
					return
				elseif message == "" then
					return
				end
			end
			show_message(tvb, at, size, pinfo, root, message, frame)
			at = at + size
		end
	end
end

disagg:register_heuristic("tcp", function(tvb, pinfo, root)
	if not plausible(tvb, 0) then
		return false
	end
	pinfo.conversation = disagg
	disagg.dissector(tvb, pinfo, root)
	return true
end)

local tcp_port = DissectorTable.get("tcp.port")
local ports = disagg.prefs.ports

tcp_port:add(ports, disagg)
DissectorTable.get("udp.port"):add(wire.PORT, disagg)

function disagg.prefs_changed()
	if ports ~= disagg.prefs.ports then
		if ports ~= "" then
			tcp_port:remove(ports, disagg)
		end
		ports = disagg.prefs.ports
		if ports ~= "" then
			tcp_port:add(ports, disagg)
		end
	end
end
