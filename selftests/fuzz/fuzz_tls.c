// SPDX-License-Identifier: GPL-2.0
/*
 * libdisagg: keys and handshakes (tls.c). The first byte of the input says what the rest is:
 *
 *   p   a file of keys
 *   s c bytes that a server, or a client, gets instead of a handshake
 *   m   changes to one: where in the bytes to the server or (from 0x8000 on) to the client,
 *       16 bits, and what is there then, 8; without one, both sides must agree
 *   u   the identity that a client with a shared key says; the key is one's, or one+b's
 *   n   the names in a client's certificate: how many, each with its kind, length and text,
 *       and the length and text of its CN. Whose it is must be what is said there, and
 *       nothing else.
 */
#include <time.h>

#include <sys/socket.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "fuzz.h"
#include "tls.h"

#define ROUNDS		64	/* of a handshake, at most */
#define NAMES_MAX	70
#define LOOKED_AT	64	/* of a certificate's names */
#define STREAM		(1 << 15)
#define KEY		"0123456789abcdef0123456789abcdef"
#define KEY_B		"fedcba9876543210fedcba9876543210"

static struct dsg_creds *server_creds, *client_creds;
static gnutls_x509_privkey_t ca_key, key;
static gnutls_x509_crt_t ca;
static gnutls_priority_t priority;	/* of clients that are not ours */
static char psk_path[128];

static gnutls_x509_privkey_t make_key(void)
{
	gnutls_x509_privkey_t k;

	fuzz_assert(!gnutls_x509_privkey_init(&k));
	fuzz_assert(!gnutls_x509_privkey_generate(k, GNUTLS_PK_ECDSA,
						  GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1),
						  0));
	return k;
}

/* A certificate that is not signed. */
static gnutls_x509_crt_t make_certificate(gnutls_x509_privkey_t k, uint8_t number)
{
	gnutls_x509_crt_t crt;
	time_t now = time(NULL);

	fuzz_assert(!gnutls_x509_crt_init(&crt));
	fuzz_assert(!gnutls_x509_crt_set_version(crt, 3) && !gnutls_x509_crt_set_key(crt, k) &&
		    !gnutls_x509_crt_set_serial(crt, &number, 1) &&
		    !gnutls_x509_crt_set_activation_time(crt, now - 3600) &&
		    !gnutls_x509_crt_set_expiration_time(crt, now + 10 * 365 * 86400));
	return crt;
}

static void write_pem(const char *name, gnutls_x509_crt_t crt, char *path, size_t size)
{
	gnutls_datum_t pem;

	snprintf(path, size, "%s/%s", fuzz_folder(), name);
	fuzz_assert(!(crt ? gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem) :
			    gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem)));
	fuzz_file(path, pem.data, pem.size);
	gnutls_free(pem.data);
}

static struct dsg_creds *make_creds(const char *name, bool server)
{
	struct dsg_keys keys = { .security = DSG_X509 };
	struct dsg_creds *creds;
	gnutls_x509_crt_t crt = make_certificate(key, 2);

	fuzz_assert(!gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_DNSNAME, name,
							  (unsigned int)strlen(name),
							  GNUTLS_FSAN_SET));
	fuzz_assert(!gnutls_x509_crt_sign2(crt, ca, ca_key, GNUTLS_DIG_SHA256, 0));
	write_pem("ca", ca, keys.ca, sizeof(keys.ca));
	write_pem("key", NULL, keys.key, sizeof(keys.key));
	write_pem("certificate", crt, keys.certificate, sizeof(keys.certificate));
	gnutls_x509_crt_deinit(crt);
	if (server) {
		snprintf(psk_path, sizeof(psk_path), "%s/psk", fuzz_folder());
		fuzz_file(psk_path, "", 0);
		snprintf(keys.psk_file, sizeof(keys.psk_file), "%s", psk_path);
	}
	fuzz_assert(!dsg_creds_load(&keys, server, &creds, NULL));
	return creds;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_init();
	ca_key = make_key();
	key = make_key();
	ca = make_certificate(ca_key, 1);
	fuzz_assert(!gnutls_x509_crt_set_ca_status(ca, 1) &&
		    !gnutls_x509_crt_set_dn_by_oid(ca, GNUTLS_OID_X520_COMMON_NAME, 0, "ca", 2) &&
		    !gnutls_x509_crt_sign2(ca, ca, ca_key, GNUTLS_DIG_SHA256, 0));
	server_creds = make_creds("target", true);
	client_creds = make_creds("client", false);
	fuzz_assert(!gnutls_priority_init(&priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+ECDHE-PSK",
					  NULL));
	return 0;
}

/* ---- files ---- */

/* Whether the file has a key for "a": in its first line that begins so. */
static bool has_key(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size), *rest = text, *line;
	bool ok = false;

	while ((line = strsep(&rest, "\r\n"))) {
		if (strncmp(line, "a:", 2))
			continue;
		line += 2;
		ok = strlen(line) >= 32 && strlen(line) <= 128 && strlen(line) % 2 == 0 &&
		     strspn(line, "0123456789abcdefABCDEF") == strlen(line);
		break;
	}
	free(text);
	return ok;
}

static void psk_file(const uint8_t *data, size_t size)
{
	struct dsg_keys keys = { .security = DSG_PSK, .identity = "a" };
	struct dsg_error error = { .err = 0 };
	struct dsg_creds *creds;

	fuzz_file(psk_path, data, size);
	snprintf(keys.psk_file, sizeof(keys.psk_file), "%s", psk_path);
	if (dsg_creds_load(&keys, false, &creds, &error)) {
		fuzz_assert(error.err && error.text[0] && !has_key(data, size));
	} else {
		fuzz_assert(has_key(data, size));
		dsg_creds_free(creds);
	}
	fuzz_file(psk_path, "", 0);
}

/* ---- handshakes ---- */

static void make_pair(int pair[2])
{
	fuzz_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair));
}

static struct dsg_tls *begin(bool server, int fd)
{
	struct dsg_tls *tls;

	fuzz_assert(!dsg_tls_new(server ? server_creds : client_creds, fd,
				 server ? NULL : "target", &tls, NULL));
	return tls;
}

/* What no peer has made: nothing comes of it. */
static void raw(bool server, const uint8_t *data, size_t size)
{
	struct dsg_error error = { .err = 0 };
	struct dsg_tls *tls;
	int pair[2], err;

	make_pair(pair);
	tls = begin(server, pair[0]);
	fuzz_assert(send(pair[1], data, size, 0) == (ssize_t)size || size > STREAM);
	shutdown(pair[1], SHUT_WR);
	for (int i = 0; i < ROUNDS && (err = dsg_tls_handshake(tls, &error)) == -EAGAIN; i++)
		;
	fuzz_assert(err && (err == -EAGAIN || error.text[0]));
	dsg_tls_free(tls);
	close(pair[0]);
	close(pair[1]);
}

struct stream {
	size_t done;		/* bytes that have been handed on */
	uint8_t patched[STREAM], value[STREAM];
};

static void hand_on(struct stream *s, int from, int to)
{
	uint8_t buf[4096];
	ssize_t n;

	while ((n = recv(from, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			if (s->done + (size_t)i < STREAM && s->patched[s->done + (size_t)i])
				buf[i] = s->value[s->done + (size_t)i];
		s->done += (size_t)n;
		if (send(to, buf, (size_t)n, MSG_NOSIGNAL) != n)
			break;
	}
}

static void changed(struct fuzz_in *in)
{
	static struct stream streams[2];
	struct dsg_tls *server, *client;
	int to_server[2], to_client[2], s = -EAGAIN, c = -EAGAIN;
	bool any = in->left >= 3;

	memset(streams, 0, sizeof(streams));
	while (in->left >= 3) {
		unsigned int at = take_u8(in) << 8;
		struct stream *stream = &streams[at >> 15];

		at = (at & 0x7f00) | take_u8(in);
		stream->patched[at] = 1;
		stream->value[at] = take_u8(in);
	}
	make_pair(to_server);
	make_pair(to_client);
	server = begin(true, to_server[0]);
	client = begin(false, to_client[0]);
	for (int i = 0; i < ROUNDS && (s == -EAGAIN || c == -EAGAIN); i++) {
		if (c == -EAGAIN)
			c = dsg_tls_handshake(client, NULL);
		hand_on(&streams[0], to_client[1], to_server[1]);
		if (s == -EAGAIN)
			s = dsg_tls_handshake(server, NULL);
		hand_on(&streams[1], to_server[1], to_client[1]);
	}
	fuzz_assert(any || (!s && !c));
	fuzz_assert(s || !strcmp(dsg_tls_identity(server), "client"));
	dsg_tls_free(server);
	dsg_tls_free(client);
	for (int i = 0; i < 2; i++) {
		close(to_server[i]);
		close(to_client[i]);
	}
}

/* A client of GnuTLS's with these credentials, and a server of ours; what that says. */
static struct dsg_tls *met(gnutls_credentials_type_t type, void *credentials, int *err)
{
	struct dsg_error error = { .err = 0 };
	int pair[2], ret = GNUTLS_E_AGAIN;
	gnutls_session_t client;
	struct dsg_tls *server;

	make_pair(pair);
	server = begin(true, pair[0]);
	fuzz_assert(!gnutls_init(&client, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS));
	fuzz_assert(!gnutls_priority_set(client, priority) &&
		    !gnutls_credentials_set(client, type, credentials));
	gnutls_transport_set_int(client, pair[1]);
	*err = -EAGAIN;
	for (int i = 0; i < ROUNDS && *err == -EAGAIN; i++) {
		if (ret == GNUTLS_E_AGAIN)
			ret = gnutls_handshake(client);
		*err = dsg_tls_handshake(server, &error);
	}
	fuzz_assert(!*err || error.text[0]);
	gnutls_deinit(client);
	close(pair[0]);
	close(pair[1]);
	return server;
}

/* Who says that he is one is one, if he has that key; and nobody is anybody else. */
static void shared_key(struct fuzz_in *in)
{
	static const char file[] = "one:" KEY "\none+b:" KEY_B "\n";
	bool b = take_u8(in) & 1, right;
	gnutls_datum_t user = { (unsigned char *)(uintptr_t)in->p, (unsigned int)in->left };
	gnutls_datum_t key_text = { (unsigned char *)(uintptr_t)(b ? KEY_B : KEY), 32 };
	gnutls_psk_client_credentials_t creds;
	const char *name = b ? "one+b" : "one";
	struct dsg_tls *server;
	int err;

	if (!user.size || user.size > 4096)
		return;
	fuzz_file(psk_path, file, sizeof(file) - 1);
	fuzz_assert(!gnutls_psk_allocate_client_credentials(&creds));
	fuzz_assert(!gnutls_psk_set_client_credentials2(creds, &user, &key_text,
							GNUTLS_PSK_KEY_HEX));
	server = met(GNUTLS_CRD_PSK, creds, &err);
	/* What comes after a NUL GnuTLS keeps to itself. */
	right = strnlen((const char *)user.data, user.size) == strlen(name) &&
		!memcmp(user.data, name, strlen(name));
	fuzz_assert(right == !err);
	fuzz_assert(err || !strcmp(dsg_tls_identity(server), "one"));
	dsg_tls_free(server);
	gnutls_psk_free_client_credentials(creds);
	fuzz_file(psk_path, "", 0);
}

/* ---- names ---- */

struct names {
	char expected[256];
	size_t len;		/* of that */
	bool known;		/* that it is that one: no other one is in the way */
	bool no_cn;		/* that is not looked at */
};

#define SAN_OID		"2.5.29.17"
#define SAN_DNS		0x82
#define SAN_ADDRESS	0x87

/* DNS, mail, URI, address: what a name begins with in a certificate */
static const uint8_t kinds[] = { SAN_DNS, 0x81, 0x86, SAN_ADDRESS };

static void expect(struct names *names, const void *text, size_t len)
{
	memcpy(names->expected, text, len);
	names->len = len;
}

/* GnuTLS would not write all of these. */
static void take_names(struct fuzz_in *in, struct names *names, gnutls_x509_crt_t crt,
		       unsigned int count)
{
	uint8_t der[4 + NAMES_MAX * (3 + 255)], *p = der + 4;
	bool dns = false;

	for (unsigned int i = 0; i < count; i++) {
		uint8_t kind = kinds[take_u8(in) % sizeof(kinds)], len = take_u8(in);

		*p++ = kind;
		if (len > 127)
			*p++ = 0x81;
		*p++ = len;
		take(in, p, len);
		if (kind == SAN_DNS && !dns && i < LOOKED_AT) {
			expect(names, p, len);
			dns = true;
		}
		names->known &= dns || len < DSG_IDENTITY_LEN;
		/* GnuTLS accepts none that is empty, nor an address of another length. */
		names->known &= len && (kind != SAN_ADDRESS || len == 4 || len == 16);
		p += len;
	}
	names->no_cn = dns || count >= LOOKED_AT;
	der[0] = 0x30;
	der[1] = 0x82;
	der[2] = (uint8_t)((p - der - 4) >> 8);
	der[3] = (uint8_t)(p - der - 4);
	fuzz_assert(!gnutls_x509_crt_set_extension_by_oid(crt, SAN_OID, der, (size_t)(p - der), 0));
}

static gnutls_x509_crt_t take_certificate(struct fuzz_in *in, struct names *names)
{
	gnutls_x509_crt_t crt = make_certificate(key, 3);
	unsigned int count = take_u8(in) % NAMES_MAX;
	uint8_t text[255], len;

	memset(names, 0, sizeof(*names));
	names->known = true;
	if (count)
		take_names(in, names, crt, count);
	len = take_u8(in);
	take(in, text, len);
	/* GnuTLS leaves out what is no text. */
	if (len && !gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, text, len) &&
	    !names->no_cn)
		expect(names, text, len);
	fuzz_assert(!gnutls_x509_crt_sign2(crt, ca, ca_key, GNUTLS_DIG_SHA256, 0));
	return crt;
}

static bool is_identity(const struct names *names)
{
	return names->len && names->len < DSG_IDENTITY_LEN &&
	       strlen(names->expected) == names->len && dsg_identity_ok(names->expected) &&
	       !strchr(names->expected, '+');
}

static void certificate(struct fuzz_in *in)
{
	gnutls_certificate_credentials_t creds;
	struct dsg_tls *server;
	struct names names;
	gnutls_x509_crt_t crt = take_certificate(in, &names);
	int err;

	fuzz_assert(!gnutls_certificate_allocate_credentials(&creds));
	fuzz_assert(!gnutls_certificate_set_x509_key(creds, &crt, 1, key));
	server = met(GNUTLS_CRD_CERTIFICATE, creds, &err);
	if (err) {
		fuzz_assert(!dsg_tls_identity(server)[0]);
		fuzz_assert(!names.known || !is_identity(&names));
	} else {
		fuzz_assert(is_identity(&names) &&
			    !strcmp(dsg_tls_identity(server), names.expected));
	}
	dsg_tls_free(server);
	gnutls_certificate_free_credentials(creds);
	gnutls_x509_crt_deinit(crt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t what = take_u8(&in);

	switch (what) {
	case 'p':
		psk_file(in.p, in.left);
		break;
	case 's':
	case 'c':
		raw(what == 's', in.p, in.left);
		break;
	case 'm':
		changed(&in);
		break;
	case 'u':
		shared_key(&in);
		break;
	case 'n':
		certificate(&in);
		break;
	}
	return 0;
}
