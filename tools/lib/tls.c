// SPDX-License-Identifier: GPL-2.0
/* TLS by GnuTLS: keys, handshake, records. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "tls_internal.h"

#define FILE_MAX	(1 << 20)	/* bytes of a file of keys */
#define PSK_MIN		16		/* bytes of a key */
#define PSK_MAX		64
#define NOTHING_MAX	(1 << 18)	/* more bytes than a handshake has */

/*
 * No version but 1.3, no cipher that a kernel does not have, and with keys that were
 * shared beforehand never without Diffie-Hellman: who learns a key later can't read
 * what went before.
 */
#define PRIORITY	"SECURE128:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-128-GCM:" \
			"+AES-256-GCM:+CHACHA20-POLY1305:-KX-ALL"
#define PRIORITY_PSK	":+ECDHE-PSK:+DHE-PSK"
#define PRIORITY_X509	":+ECDHE-ECDSA:+ECDHE-RSA"

int dsg_tls_fail(struct dsg_error *error, int err, const char *fmt, ...)
{
	va_list args;

	if (error) {
		error->err = err;
		error->status = 0;
		va_start(args, fmt);
		vsnprintf(error->text, sizeof(error->text), fmt, args);
		va_end(args);
	}
	return -err;
}

const char *dsg_security_text(enum dsg_security security)
{
	return security == DSG_PSK ? "psk" : security == DSG_X509 ? "x509" : "plain";
}

bool dsg_identity_ok(const char *s)
{
	size_t len = strlen(s);

	return len && len < DSG_IDENTITY_LEN && isalnum((unsigned char)s[0]) &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			 "0123456789._-@+") == len;
}

void dsg_identity_owner(char *identity)
{
	identity[strcspn(identity, "+")] = '\0';
}

/* ---- files ---- */

static void wipe(gnutls_datum_t *data)
{
	if (data->data)
		explicit_bzero(data->data, data->size);
	free(data->data);
	data->data = NULL;
}

static int check_secret(const struct stat *st, const char *path, struct dsg_error *error)
{
	if (st->st_mode & 0077)
		return dsg_tls_fail(error, EPERM, "%s: others than its owner may use it: chmod 600",
				    path);
	if (st->st_uid && st->st_uid != geteuid())
		return dsg_tls_fail(error, EPERM, "%s: it belongs to another user: chown root",
				    path);
	return 0;
}

/* All of a file, for wipe(). */
static int read_file(const char *path, bool secret, gnutls_datum_t *data,
		     struct dsg_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
	struct stat st;
	ssize_t n = 0;

	data->data = NULL;
	data->size = 0;
	if (fd < 0)
		return dsg_tls_fail(error, errno, "%s: %s", path, strerror(errno));
	if (fstat(fd, &st))
		err = dsg_tls_fail(error, errno, "%s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX)
		err = dsg_tls_fail(error, EINVAL, "%s: no file of keys", path);
	else if (secret)
		err = check_secret(&st, path, error);
	if (err)
		goto out;
	data->data = calloc(1, (size_t)st.st_size + 1);
	if (!data->data) {
		err = dsg_tls_fail(error, ENOMEM, "out of memory");
		goto out;
	}
	while (data->size < st.st_size &&
	       (n = read(fd, data->data + data->size, (size_t)st.st_size - data->size)) > 0)
		data->size += (unsigned int)n;
	if (n < 0) {
		err = dsg_tls_fail(error, errno, "%s: %s", path, strerror(errno));
		wipe(data);
	}
out:
	close(fd);
	return err;
}

static int hex_key(const char *hex, size_t len, gnutls_datum_t *key)
{
	gnutls_datum_t text = { (unsigned char *)(uintptr_t)hex, (unsigned int)len };

	if (len < 2 * PSK_MIN || len > 2 * PSK_MAX)
		return -EINVAL;
	return gnutls_hex_decode2(&text, key) < 0 ? -EINVAL : 0;
}

/* The key of @identity, for gnutls_free(). -ENOENT if the file has none. */
static int find_psk(const char *path, const char *identity, gnutls_datum_t *key,
		    struct dsg_error *error)
{
	size_t len = strlen(identity);
	gnutls_datum_t file;
	unsigned int n = 0;
	int err = read_file(path, true, &file, error);

	if (err)
		return err;
	err = -ENOENT;
	for (char *line = (char *)file.data, *next; line && *line && err == -ENOENT; line = next) {
		size_t end = strcspn(line, "\r\n");

		n++;
		next = line[end] ? line + end + 1 : NULL;
		if (strncmp(line, identity, len) || line[len] != ':')
			continue;
		err = hex_key(line + len + 1, end - len - 1, key);
		if (err)
			dsg_tls_fail(error, -err, "%s:%u: expected %s:KEY, KEY of %d to %d hexadecimal digits",
				     path, n, identity, 2 * PSK_MIN, 2 * PSK_MAX);
	}
	if (err == -ENOENT)
		dsg_tls_fail(error, ENOENT, "%s: it has no key for %s", path, identity);
	wipe(&file);
	return err;
}

/* ---- credentials ---- */

static int load_x509(const struct dsg_keys *keys, struct dsg_creds *c, struct dsg_error *error)
{
	gnutls_datum_t cert, key, ca;
	int n, err;

	if (gnutls_certificate_allocate_credentials(&c->x509) < 0)
		return dsg_tls_fail(error, ENOMEM, "out of memory");
	err = read_file(keys->certificate, false, &cert, error);
	if (err)
		return err;
	err = read_file(keys->key, true, &key, error);
	if (!err) {
		n = gnutls_certificate_set_x509_key_mem2(c->x509, &cert, &key, GNUTLS_X509_FMT_PEM,
							 NULL, 0);
		if (n < 0)
			err = dsg_tls_fail(error, EINVAL, "%s, %s: %s", keys->certificate, keys->key,
					   gnutls_strerror(n));
		wipe(&key);
	}
	wipe(&cert);
	if (err)
		return err;
	err = read_file(keys->ca, false, &ca, error);
	if (err)
		return err;
	n = gnutls_certificate_set_x509_trust_mem(c->x509, &ca, GNUTLS_X509_FMT_PEM);
	if (n <= 0)
		err = dsg_tls_fail(error, EINVAL, "%s: %s", keys->ca,
				   n ? gnutls_strerror(n) : "it has no certificate");
	wipe(&ca);
	return err;
}

static int load_client_psk(const struct dsg_keys *keys, struct dsg_creds *c,
			   struct dsg_error *error)
{
	gnutls_datum_t key;
	int err = find_psk(keys->psk_file, keys->identity, &key, error);

	if (err)
		return err;
	if (gnutls_psk_allocate_client_credentials(&c->psk_client) < 0 ||
	    gnutls_psk_set_client_credentials(c->psk_client, keys->identity, &key,
					      GNUTLS_PSK_KEY_RAW) < 0)
		err = dsg_tls_fail(error, ENOMEM, "out of memory");
	explicit_bzero(key.data, key.size);
	gnutls_free(key.data);
	return err;
}

/*
 * A stranger gets a key by chance: that he is one, and not one with a wrong key, is for
 * the log to say, and not for him to hear.
 */
static int server_psk(gnutls_session_t session, const char *username, gnutls_datum_t *key)
{
	struct dsg_tls *tls = gnutls_session_get_ptr(session);
	struct dsg_error error = { .err = 0 };

	if (!dsg_identity_ok(username))
		snprintf(tls->trouble, sizeof(tls->trouble), "an identity that is none");
	else if (find_psk(tls->creds->psk_file, username, key, &error))
		snprintf(tls->trouble, sizeof(tls->trouble), "%s", error.text);
	else {
		snprintf(tls->identity, sizeof(tls->identity), "%s", username);
		return 0;
	}
	key->data = gnutls_malloc(PSK_MIN);
	key->size = PSK_MIN;
	return !key->data || dsg_random(key->data, PSK_MIN) ? -1 : 0;
}

static int load_server_psk(const struct dsg_keys *keys, struct dsg_creds *c,
			   struct dsg_error *error)
{
	gnutls_datum_t file;
	/* It is read again for each client; that it can be is to be known early. */
	int err = read_file(keys->psk_file, true, &file, error);

	if (err)
		return err;
	wipe(&file);
	snprintf(c->psk_file, sizeof(c->psk_file), "%s", keys->psk_file);
	if (gnutls_psk_allocate_server_credentials(&c->psk_server) < 0)
		return dsg_tls_fail(error, ENOMEM, "out of memory");
	gnutls_psk_set_server_credentials_function(c->psk_server, server_psk);
	return 0;
}

int dsg_creds_load(const struct dsg_keys *keys, bool server, struct dsg_creds **creds,
		   struct dsg_error *error)
{
	bool psk = server ? keys->psk_file[0] : keys->security == DSG_PSK;
	bool x509 = server ? keys->certificate[0] : keys->security == DSG_X509;
	struct dsg_creds *c = calloc(1, sizeof(*c));
	char priority[256];
	int err = 0;

	if (!c)
		return dsg_tls_fail(error, ENOMEM, "out of memory");
	c->server = server;
	snprintf(priority, sizeof(priority), PRIORITY "%s%s", psk ? PRIORITY_PSK : "",
		 x509 ? PRIORITY_X509 : "");
	if (!psk && !x509)
		err = dsg_tls_fail(error, EINVAL, "there are no keys");
	else if (gnutls_priority_init(&c->priority, priority, NULL) < 0)
		err = dsg_tls_fail(error, EINVAL, "this host's GnuTLS lacks TLS 1.3, or forbids it");
	if (!err && x509)
		err = load_x509(keys, c, error);
	if (!err && psk)
		err = server ? load_server_psk(keys, c, error) : load_client_psk(keys, c, error);
	if (err) {
		dsg_creds_free(c);
		return err;
	}
	*creds = c;
	return 0;
}

void dsg_creds_free(struct dsg_creds *c)
{
	if (!c)
		return;
	if (c->x509)
		gnutls_certificate_free_credentials(c->x509);
	if (c->psk_client)
		gnutls_psk_free_client_credentials(c->psk_client);
	if (c->psk_server)
		gnutls_psk_free_server_credentials(c->psk_server);
	if (c->priority)
		gnutls_priority_deinit(c->priority);
	free(c);
}

int64_t dsg_creds_expire(const struct dsg_creds *c)
{
	gnutls_x509_crt_t *list = NULL;
	unsigned int count = 0;
	int64_t end = 0;

	if (!c->x509 || gnutls_certificate_get_x509_crt(c->x509, 0, &list, &count) < 0)
		return 0;
	for (unsigned int i = 0; i < count; i++) {
		int64_t t = gnutls_x509_crt_get_expiration_time(list[i]);

		if (!i || t < end)
			end = t;
		gnutls_x509_crt_deinit(list[i]);
	}
	gnutls_free(list);
	return end;
}

/* ---- a connection ---- */

static ssize_t push(gnutls_transport_ptr_t ptr, const giovec_t *iov, int count)
{
	struct dsg_tls *tls = ptr;
	struct msghdr msg = {
		.msg_iov = (struct iovec *)(uintptr_t)iov,
		.msg_iovlen = (size_t)count,
	};
	ssize_t n = sendmsg(tls->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		gnutls_transport_set_errno(tls->session, errno);
	return n;
}

static ssize_t pull(gnutls_transport_ptr_t ptr, void *buf, size_t len)
{
	struct dsg_tls *tls = ptr;
	ssize_t n;

	/* GnuTLS itself goes on with the next record as long as there is nothing in them. */
	if (tls->nothing > NOTHING_MAX) {
		tls->alert = "too many records with nothing in them";
		gnutls_transport_set_errno(tls->session, EPROTO);
		return -1;
	}
	n = recv(tls->fd, buf, len, MSG_DONTWAIT);
	if (n < 0)
		gnutls_transport_set_errno(tls->session, errno);
	else
		tls->nothing += (size_t)n;
	return n;
}

static int set_up_server(struct dsg_tls *tls)
{
	static gnutls_typed_vdata_st purpose = {
		.type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT,
	};
	struct dsg_creds *c = tls->creds;

	if (c->psk_server && gnutls_credentials_set(tls->session, GNUTLS_CRD_PSK,
						    c->psk_server) < 0)
		return -1;
	gnutls_certificate_server_set_request(tls->session, GNUTLS_CERT_REQUIRE);
	gnutls_session_set_verify_cert2(tls->session, &purpose, 1, 0);
	return 0;
}

static int set_up_client(struct dsg_tls *tls)
{
	struct dsg_creds *c = tls->creds;

	if (c->psk_client && gnutls_credentials_set(tls->session, GNUTLS_CRD_PSK,
						    c->psk_client) < 0)
		return -1;
	tls->expected[0].type = GNUTLS_DT_DNS_HOSTNAME;
	tls->expected[0].data = (unsigned char *)tls->host;
	tls->expected[1].type = GNUTLS_DT_KEY_PURPOSE_OID;
	tls->expected[1].data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_SERVER;
	gnutls_session_set_verify_cert2(tls->session, tls->expected, 2, 0);
	return 0;
}

int dsg_tls_new(struct dsg_creds *creds, int fd, const char *host, struct dsg_tls **tls,
		struct dsg_error *error)
{
	unsigned int flags = (creds->server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NO_TICKETS;
	struct dsg_tls *t = calloc(1, sizeof(*t));

	if (!t)
		return dsg_tls_fail(error, ENOMEM, "out of memory");
	t->creds = creds;
	t->fd = fd;
	if (host)
		snprintf(t->host, sizeof(t->host), "%s", host);
	if (gnutls_init(&t->session, flags) < 0) {
		free(t);
		return dsg_tls_fail(error, ENOMEM, "out of memory");
	}
	gnutls_session_set_ptr(t->session, t);
	gnutls_transport_set_ptr(t->session, t);
	gnutls_transport_set_vec_push_function(t->session, push);
	gnutls_transport_set_pull_function(t->session, pull);
	if (gnutls_priority_set(t->session, creds->priority) < 0 ||
	    (creds->x509 && gnutls_credentials_set(t->session, GNUTLS_CRD_CERTIFICATE,
						   creds->x509) < 0) ||
	    (creds->server ? set_up_server(t) : set_up_client(t))) {
		dsg_tls_free(t);
		return dsg_tls_fail(error, ENOMEM, "cannot set up TLS");
	}
	*tls = t;
	return 0;
}

void dsg_tls_free(struct dsg_tls *tls)
{
	if (!tls)
		return;
	gnutls_deinit(tls->session);
	free(tls);
}

/* What GnuTLS calls an error, as one of the system's. */
static int errno_of(int ret)
{
	switch (ret) {
	case GNUTLS_E_AGAIN:
	case GNUTLS_E_INTERRUPTED:
		return EAGAIN;
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
	case GNUTLS_E_PREMATURE_TERMINATION:
	case GNUTLS_E_SESSION_EOF:
		return ECONNRESET;
	case GNUTLS_E_UNEXPECTED_PACKET_LENGTH:
	case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
	case GNUTLS_E_UNEXPECTED_PACKET:
	case GNUTLS_E_UNEXPECTED_HANDSHAKE_PACKET:
	case GNUTLS_E_RECORD_OVERFLOW:
		return EPROTO;
	case GNUTLS_E_MEMORY_ERROR:
		return ENOMEM;
	default:
		return EACCES;
	}
}

/* The certificate that was not accepted, in words. */
static void explain_certificate(struct dsg_tls *tls, char *buf, size_t size)
{
	unsigned int status = gnutls_session_get_verify_cert_status(tls->session);
	gnutls_datum_t text = { NULL, 0 };

	if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0) < 0)
		snprintf(buf, size, "its certificate is not trusted");
	else
		snprintf(buf, size, "%s", text.data);
	gnutls_free(text.data);
	for (size_t len = strlen(buf); len && buf[len - 1] == ' '; len--)
		buf[len - 1] = '\0';
}

static int handshake_failed(struct dsg_tls *tls, int ret, struct dsg_error *error)
{
	int err = errno_of(ret);
	char why[200];

	/* The other side is to know why; if it can't be told, it sees the end. */
	if (err == EACCES && ret != GNUTLS_E_FATAL_ALERT_RECEIVED)
		gnutls_alert_send_appropriate(tls->session, ret);
	if (ret == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return dsg_tls_fail(error, EACCES, "TLS: the %s does not accept this %s (%s)",
				    tls->creds->server ? "client" : "target",
				    tls->creds->server ? "target" : "host",
				    gnutls_alert_get_name(gnutls_alert_get(tls->session)));
	if (ret == GNUTLS_E_PULL_ERROR && tls->alert)
		return dsg_tls_fail(error, EPROTO, "TLS: %s", tls->alert);
	if (tls->trouble[0])
		return dsg_tls_fail(error, EACCES, "TLS: %s", tls->trouble);
	if (err == EPROTO)
		return dsg_tls_fail(error, err, "the %s does not speak TLS here",
				    tls->creds->server ? "client" : "target");
	if (err == ECONNRESET)
		return dsg_tls_fail(error, err, "the %s closed the connection in the TLS handshake",
				    tls->creds->server ? "client" : "target");
	if (ret == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
		explain_certificate(tls, why, sizeof(why));
	else if (tls->identity[0] && ret == GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER)
		snprintf(why, sizeof(why), "%s has the wrong key", tls->identity);
	else
		snprintf(why, sizeof(why), "%s", gnutls_strerror(ret));
	return dsg_tls_fail(error, err, "TLS: %s", why);
}

/*
 * The name in a client's certificate: its first DNS name, or if it has none its CN.
 * A '+', which has a meaning in the name of a key, it must not have.
 */
static bool certificate_identity(struct dsg_tls *tls)
{
	size_t size = sizeof(tls->identity);
	const gnutls_datum_t *chain;
	gnutls_x509_crt_t crt;
	unsigned int count;
	int ret = GNUTLS_E_SHORT_MEMORY_BUFFER;

	chain = gnutls_certificate_get_peers(tls->session, &count);
	if (!chain || !count || gnutls_x509_crt_init(&crt) < 0)
		return false;
	if (gnutls_x509_crt_import(crt, chain, GNUTLS_X509_FMT_DER) >= 0) {
		for (unsigned int i = 0; ret != GNUTLS_SAN_DNSNAME &&
		     ret != GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE && i < 64; i++) {
			size = sizeof(tls->identity);
			ret = gnutls_x509_crt_get_subject_alt_name(crt, i, tls->identity, &size,
								   NULL);
			if (ret == GNUTLS_E_SHORT_MEMORY_BUFFER)
				break;
		}
		/* There are too many to look at: what is in the buffer is an address. */
		if (ret >= 0 && ret != GNUTLS_SAN_DNSNAME)
			ret = GNUTLS_E_SHORT_MEMORY_BUFFER;
		if (ret == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE) {
			size = sizeof(tls->identity);
			ret = gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0,
							    tls->identity, &size);
		}
	}
	gnutls_x509_crt_deinit(crt);
	/* A NUL within would make it another name. */
	if (ret < 0 || size >= sizeof(tls->identity) ||
	    strnlen(tls->identity, sizeof(tls->identity)) != size)
		return false;
	return dsg_identity_ok(tls->identity) && !strchr(tls->identity, '+');
}

/* What both priorities and callbacks are to bring about; it must not hang on them alone. */
static int check_peer(struct dsg_tls *tls, struct dsg_error *error)
{
	bool server = tls->creds->server;
	gnutls_credentials_type_t type = server ? gnutls_auth_client_get_type(tls->session) :
						  gnutls_auth_server_get_type(tls->session);

	if (gnutls_protocol_get_version(tls->session) != GNUTLS_TLS1_3 ||
	    gnutls_session_is_resumed(tls->session))
		return dsg_tls_fail(error, EACCES, "TLS: not a fresh session of version 1.3");
	if (type == GNUTLS_CRD_PSK) {
		gnutls_kx_algorithm_t kx = gnutls_kx_get(tls->session);

		if ((kx != GNUTLS_KX_ECDHE_PSK && kx != GNUTLS_KX_DHE_PSK) ||
		    (server ? !tls->creds->psk_server || !tls->identity[0] || tls->trouble[0] :
			      !tls->creds->psk_client))
			return dsg_tls_fail(error, EACCES, "TLS: a key without forward secrecy");
		if (server)
			dsg_identity_owner(tls->identity);
		return 0;
	}
	if (type != GNUTLS_CRD_CERTIFICATE || !tls->creds->x509)
		return dsg_tls_fail(error, EACCES, "TLS: the other side has proved nothing");
	if (gnutls_session_get_verify_cert_status(tls->session))
		return dsg_tls_fail(error, EACCES, "TLS: the certificate is not trusted");
	if (server && !certificate_identity(tls)) {
		tls->identity[0] = '\0';
		return dsg_tls_fail(error, EACCES, "TLS: the client's certificate has no usable name");
	}
	return 0;
}

int dsg_tls_handshake(struct dsg_tls *tls, struct dsg_error *error)
{
	int ret;

	/* Warnings, which are not fatal, 1.3 has none of: who sends one could send many. */
	do {
		ret = gnutls_handshake(tls->session);
	} while (ret == GNUTLS_E_INTERRUPTED);
	if (ret == GNUTLS_E_AGAIN)
		return -EAGAIN;
	return ret < 0 ? handshake_failed(tls, ret, error) : check_peer(tls, error);
}

int dsg_tls_fd(const struct dsg_tls *tls)
{
	return tls->fd;
}

short dsg_tls_events(const struct dsg_tls *tls)
{
	return gnutls_record_get_direction(tls->session) ? POLLOUT : POLLIN;
}

int dsg_tls_handshake_until(struct dsg_tls *tls, uint64_t deadline, struct dsg_error *error)
{
	int err;

	while ((err = dsg_tls_handshake(tls, error)) == -EAGAIN) {
		err = dsg_wait_fd(tls->fd, dsg_tls_events(tls), deadline);
		if (err == -ETIMEDOUT)
			return dsg_tls_fail(error, ETIMEDOUT, "the TLS handshake did not end in time");
		if (err)
			return dsg_tls_fail(error, -err, "the TLS handshake: %s", strerror(-err));
	}
	return err;
}

const char *dsg_tls_identity(const struct dsg_tls *tls)
{
	return tls->identity;
}

ssize_t dsg_tls_send(struct dsg_tls *tls, const void *buf, size_t len)
{
	ssize_t n = gnutls_record_send(tls->session, buf, len);

	return n < 0 ? -errno_of((int)n) : n;
}

ssize_t dsg_tls_recv(struct dsg_tls *tls, void *buf, size_t len)
{
	ssize_t n;

	do {
		n = gnutls_record_recv(tls->session, buf, len);
	} while (n < 0 && n != GNUTLS_E_AGAIN && !gnutls_error_is_fatal((int)n));
	/* What is carried knows where it ends: a missing farewell cuts nothing off. */
	if (n == GNUTLS_E_PREMATURE_TERMINATION)
		return 0;
	if (n > 0)
		tls->nothing = 0;
	if (n == GNUTLS_E_PULL_ERROR && tls->alert)
		return -EPROTO;
	if (n == GNUTLS_E_FATAL_ALERT_RECEIVED)
		tls->alert = gnutls_alert_get_name(gnutls_alert_get(tls->session));
	return n < 0 ? -errno_of((int)n) : n;
}

static int all(struct dsg_tls *tls, void *in, const void *out, size_t len, uint64_t deadline)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = in ? dsg_tls_recv(tls, (char *)in + done, len - done) :
				 dsg_tls_send(tls, (const char *)out + done, len - done);
		int err = 0;

		if (n > 0)
			done += (size_t)n;
		else if (!n)
			err = -ECONNRESET;
		else if (n != -EAGAIN)
			err = (int)n;
		else
			err = dsg_wait_fd(tls->fd, dsg_tls_events(tls), deadline);
		if (err)
			return err;
	}
	return 0;
}

int dsg_tls_send_all(struct dsg_tls *tls, const void *buf, size_t len, uint64_t deadline)
{
	return all(tls, NULL, buf, len, deadline);
}

int dsg_tls_recv_all(struct dsg_tls *tls, void *buf, size_t len, uint64_t deadline)
{
	return all(tls, buf, NULL, len, deadline);
}

bool dsg_tls_pending(const struct dsg_tls *tls)
{
	return gnutls_record_check_pending(tls->session);
}

int dsg_tls_end(struct dsg_tls *tls)
{
	int ret = gnutls_bye(tls->session, GNUTLS_SHUT_WR);

	return ret < 0 ? -errno_of(ret) : 0;
}

const char *dsg_tls_alert(const struct dsg_tls *tls)
{
	return tls->alert;
}
