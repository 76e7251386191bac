--
-- PostgreSQL database dump
--

\restrict J8Q8D0RYKoAZp7ofyBECA8k8lmlrcdQiA43ARwhNjPJRi1R25nBTh04bXFx3gex

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: touch(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.touch() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ begin INSERT INTO buildid_gnubuildid VALUES (1, ';'); return new; end $$;


ALTER FUNCTION public.touch() OWNER TO postgres;

SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: auth_user; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.auth_user (
    id integer NOT NULL,
    username text NOT NULL,
    password text NOT NULL
);


ALTER TABLE public.auth_user OWNER TO postgres;

--
-- Name: auth_user_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.auth_user_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.auth_user_id_seq OWNER TO postgres;

--
-- Name: auth_user_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE public.auth_user_id_seq OWNED BY public.auth_user.id;


--
-- Name: buildid_gnubuildid; Type: TABLE; Schema: public; Owner: postgres
--

CREATE TABLE public.buildid_gnubuildid (
    id integer NOT NULL,
    elfname text NOT NULL,
    instpath text NOT NULL,
    build_id text NOT NULL,
    rpm_name text NOT NULL,
    distro text NOT NULL,
    kojibuildid integer NOT NULL,
    koji_type text NOT NULL,
    rpm_url text NOT NULL
);


ALTER TABLE public.buildid_gnubuildid OWNER TO postgres;

--
-- Name: buildid_gnubuildid_id_seq; Type: SEQUENCE; Schema: public; Owner: postgres
--

CREATE SEQUENCE public.buildid_gnubuildid_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


ALTER TABLE public.buildid_gnubuildid_id_seq OWNER TO postgres;

--
-- Name: buildid_gnubuildid_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: postgres
--

ALTER SEQUENCE public.buildid_gnubuildid_id_seq OWNED BY public.buildid_gnubuildid.id;


--
-- Name: auth_user id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.auth_user ALTER COLUMN id SET DEFAULT nextval('public.auth_user_id_seq'::regclass);


--
-- Name: buildid_gnubuildid id; Type: DEFAULT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.buildid_gnubuildid ALTER COLUMN id SET DEFAULT nextval('public.buildid_gnubuildid_id_seq'::regclass);


--
-- Data for Name: auth_user; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.auth_user (id, username, password) FROM stdin;
1	kushal	sha1$not'a;row$\\\\.
\.


--
-- Data for Name: buildid_gnubuildid; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.buildid_gnubuildid (id, elfname, instpath, build_id, rpm_name, distro, kojibuildid, koji_type, rpm_url) FROM stdin;
1	libapr-1.so.0.4.5	/usr/lib64	868357887701f51d867eacd0da6e5af6d8c70ce2	apr-1.4.5-1.fc16.x86_64	fc16	267110	primary	https://kojipkgs.fedoraproject.org//packages/apr/1.4.5/1.fc16/x86_64/apr-1.4.5-1.fc16.x86_64.rpm
2	bash	/bin	0daa18d6291a5d0d174556c8c46f1345eba61a65	bash-4.2.10-5.fc16.x86_64	fc16	0		
3	libapr-1.so.0.4.5.debug	/usr/lib/debug/usr/lib64	868357887701f51d867eacd0da6e5af6d8c70ce2	apr-debuginfo-1.4.5-1.fc16.x86_64	fc16	267110	primary	https://kojipkgs.fedoraproject.org//packages/apr-debuginfo/1.4.5/1.fc16/x86_64/apr-debuginfo-1.4.5-1.fc16.x86_64.rpm
4	tab\tback\\slash'quote\nline	/opt/é	00112233445566778899AABBCCDDEEFF00112233	odd-names-1-1.fc23.x86_64	fc23	700000	s390	
5	no-id	/bin	-	bash-4.2.10-5.fc16.x86_64	fc16	0		
6	half	/bin	a	bash-4.2.10-5.fc16.x86_64	fc16	0		
7	bash	/bin	0daa18d6291a5d0d174556c8c46f1345eba61a65	bash-4.2.10-5.fc16.x86_64	fc16	0		
\.


--
-- Name: auth_user_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.auth_user_id_seq', 1, true);


--
-- Name: buildid_gnubuildid_id_seq; Type: SEQUENCE SET; Schema: public; Owner: postgres
--

SELECT pg_catalog.setval('public.buildid_gnubuildid_id_seq', 7, true);


--
-- Name: auth_user auth_user_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.auth_user
    ADD CONSTRAINT auth_user_pkey PRIMARY KEY (id);


--
-- Name: buildid_gnubuildid buildid_gnubuildid_pkey; Type: CONSTRAINT; Schema: public; Owner: postgres
--

ALTER TABLE ONLY public.buildid_gnubuildid
    ADD CONSTRAINT buildid_gnubuildid_pkey PRIMARY KEY (id);


--
-- PostgreSQL database dump complete
--

\unrestrict J8Q8D0RYKoAZp7ofyBECA8k8lmlrcdQiA43ARwhNjPJRi1R25nBTh04bXFx3gex

